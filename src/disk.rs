//! How full a file system is, and when the operations manual wants something
//! done about it.

use std::path::Path;

use crate::error::{Error, Result};

/// Below this many percent free the manual plans a cleanup.
pub const LOW: u64 = 20;
/// Below this many percent free it cleans up at once.
pub const CRITICAL: u64 = 10;

/// What the operations manual makes of the free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing to do.
    Enough,
    /// Less than [`LOW`].
    Low,
    /// Less than [`CRITICAL`].
    Critical,
}

/// What is used of a file system, as `df` counts it: what only root may use is
/// neither used nor free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that can be used.
    pub free: u64,
    /// Percent of the files that can still be created; `None` where there is no limit.
    pub free_files: Option<u64>,
}

impl Usage {
    /// The usage of the file system that `path` is on.
    ///
    /// # Errors
    /// The path does not exist or can't be asked.
    pub fn of(path: &Path) -> Result<Usage> {
        let found = rustix::fs::statvfs(path)
            .map_err(|error| Error::io("ask for the space on", path, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let used_files = found.f_files.saturating_sub(found.f_ffree);
        Ok(Usage {
            used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            free: bytes(found.f_bavail),
            free_files: (found.f_files > 0).then(|| percent(found.f_favail, used_files)),
        })
    }

    /// Percent of the bytes that are free, rounded down.
    #[must_use]
    pub fn free_percent(&self) -> u64 {
        percent(self.free, self.used)
    }

    /// What the manual makes of it: of bytes or of files, the lesser.
    #[must_use]
    pub fn level(&self) -> Level {
        let bytes = self.free_percent();
        let least = self.free_files.map_or(bytes, |files| files.min(bytes));
        if least < CRITICAL {
            Level::Critical
        } else if least < LOW {
            Level::Low
        } else {
            Level::Enough
        }
    }
}

/// `59% free: 55.0 GiB of 92.1 GiB`.
impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}% free: {} of {}",
            self.free_percent(),
            size(self.free),
            size(self.free.saturating_add(self.used))
        )?;
        match self.free_files {
            Some(files) if files < self.free_percent() && files < LOW => {
                write!(f, ", but only {files}% of its inodes (number of files)")
            }
            _ => Ok(()),
        }
    }
}

fn percent(free: u64, used: u64) -> u64 {
    let all = u128::from(free) + u128::from(used);
    u64::try_from((u128::from(free) * 100).checked_div(all).unwrap_or(100)).unwrap_or(100)
}

/// Bytes as people read them: `512 B`, `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = "B";
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut number = bytes as f64;
    for larger in units {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_sizes() {
        let usage = Usage {
            used: 90 << 30,
            free: 10 << 30,
            free_files: Some(3),
        };
        assert_eq!((usage.free_percent(), usage.level()), (10, Level::Critical));
        for (free, level) in [
            (9, Level::Critical),
            (10, Level::Low),
            (19, Level::Low),
            (20, Level::Enough),
        ] {
            let usage = Usage {
                used: 100 - free,
                free,
                free_files: None,
            };
            assert_eq!(usage.level(), level, "{free}");
        }
        assert_eq!(
            usage.to_string(),
            "10% free: 10.0 GiB of 100.0 GiB, but only 3% of its inodes (number of files)"
        );
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX, u64::MAX), 50);
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        assert!(Usage::of(Path::new("/")).unwrap().used > 0);
        let error = Usage::of(Path::new("/no/such")).unwrap_err().to_string();
        assert!(error.contains("/no/such"), "{error}");
    }
}
