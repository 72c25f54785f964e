//! Cuts a stream of bytes into text at character borders.

/// Holds back the bytes of a character that is not complete yet, never more than three.
#[derive(Debug, Clone, Default)]
pub struct Utf8Filter {
    held: Vec<u8>,
}

impl Utf8Filter {
    /// Takes bytes, gives the characters that are complete. What can never become UTF-8 turns into U+FFFD, one per
    /// maximal invalid part (Unicode 15, section 3.9, "Substitution of Maximal Subparts").
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, broken) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = broken;
                    let Some(length) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = broken.get(length..).unwrap_or_default();
                }
            }
        }
        self.held = rest.to_vec();
        text
    }

    /// At the end: what is held back will never be complete.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}
