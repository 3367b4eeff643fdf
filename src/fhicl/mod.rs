//! FHiCL, the Fermilab Hierarchical Configuration Language.

/// Where and why a text is not FHiCL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {}
impl std::fmt::Display for SyntaxError {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
impl std::error::Error for SyntaxError {}
