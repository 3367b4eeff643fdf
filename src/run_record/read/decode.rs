//! Bytes to text.

/// A file's text, and what was unusual about its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub text: String,
    pub remarks: Vec<String>,
}

/// Reads bytes as UTF-8; each byte that is not UTF-8 as the Latin-1 character
/// it was, most likely, meant to be. A byte order mark is left out.
pub(super) fn decode(bytes: Vec<u8>) -> Decoded {
    let mut remarks = Vec::new();
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let bytes = error.into_bytes();
            let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
            let mut odd = 0;
            let mut first = 0;
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                if odd == 0 && !chunk.invalid().is_empty() {
                    first = text.matches('\n').count() + 1;
                }
                odd += chunk.invalid().len();
                text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
            }
            remarks.push(format!(
                "line {first}: not UTF-8; {odd} bytes of the file are read as Latin-1"
            ));
            text
        }
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
        remarks.push("line 1: a byte order mark is left out".to_string());
    }
    Decoded { text, remarks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_stays() {
        let text = "# Grüße → 日本\n";
        assert_eq!(
            decode(text.as_bytes().to_vec()),
            Decoded {
                text: text.to_string(),
                remarks: Vec::new()
            }
        );
    }

    #[test]
    fn other_bytes_are_latin1_and_named() {
        let decoded = decode(b"a: 1\nb: 2 # caf\xe9 \xc3\xa9 \xff\n".to_vec());
        assert_eq!(decoded.text, "a: 1\nb: 2 # café é ÿ\n");
        assert_eq!(
            decoded.remarks,
            ["line 2: not UTF-8; 2 bytes of the file are read as Latin-1"]
        );
    }

    #[test]
    fn a_byte_order_mark_goes() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1".to_vec()).text, "a: 1");
    }
}
