//! Names that may become files: what a peer may call a file, and how a model's id becomes a folder.
//!
//! Nothing here touches a disk. What passes is one plain name on Linux, macOS and Windows alike.

use thiserror::Error;

/// A file or folder name, in bytes of UTF-8: what common file systems take.
const NAME: usize = 255;

/// Why a name cannot become a file. Says nothing of the name itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// No name at all.
    #[error("it is empty")]
    Empty,
    /// Longer than file systems take.
    #[error("it is longer than 255 bytes")]
    TooLong,
    /// A separator, a drive, or something a file system or a shell gives a meaning.
    #[error("it holds a separator or another character that a plain name must not have")]
    Character,
    /// `.`, `..`, or a hidden file.
    #[error("it begins with a dot")]
    Hidden,
    /// Windows would drop its end.
    #[error("it ends in a dot or a space, or begins with a space")]
    Edge,
    /// A device on Windows.
    #[error("Windows keeps this name for a device")]
    Reserved,
}

/// Checks that a peer's name for a file is one plain name everywhere.
///
/// # Errors
/// What is wrong with it.
pub fn check_file_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME {
        return Err(NameError::TooLong);
    }
    if name.chars().any(|c| !is_plain(c)) {
        return Err(NameError::Character);
    }
    if name.starts_with('.') {
        return Err(NameError::Hidden);
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Err(NameError::Edge);
    }
    if is_device(name) { Err(NameError::Reserved) } else { Ok(()) }
}

/// Whether a character has no meaning but itself: no control, no separator, nothing that turns the writing direction.
fn is_plain(c: char) -> bool {
    let turning = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let other = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !c.is_control() && !turning && !other && !r#"/\:*?"<>|"#.contains(c)
}

/// `CON`, `NUL.txt`, `com1 .gguf`: Windows opens a device, whatever follows the dot.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str()) {
        return true;
    }
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    number.is_some_and(|rest| {
        let mut chars = rest.chars();
        matches!((chars.next(), chars.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

/// The folder of a model: its id, with everything but letters, digits, `-`, `_` and inner dots written as `%` and two hex
/// digits per byte. [`folder_model`] turns it back.
///
/// # Errors
/// [`NameError::Empty`], or [`NameError::TooLong`] for an id whose folder no file system takes.
pub fn model_folder(model: &str) -> Result<String, NameError> {
    if model.is_empty() {
        return Err(NameError::Empty);
    }
    let last = model.len() - 1;
    let mut folder = String::with_capacity(model.len());
    for (index, byte) in model.bytes().enumerate() {
        let inner_dot = byte == b'.' && index != 0 && index != last;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || inner_dot {
            folder.push(char::from(byte));
        } else {
            push_escaped(&mut folder, byte);
        }
    }
    if is_device(&folder) {
        let first = folder.remove(0);
        let mut escaped = String::new();
        push_escaped(&mut escaped, u8::try_from(first).unwrap_or(b'_'));
        folder.insert_str(0, &escaped);
    }
    if folder.len() > NAME { Err(NameError::TooLong) } else { Ok(folder) }
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
}

/// The model whose folder this is; `None` for a folder that [`model_folder`] did not name.
pub fn folder_model(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(*high)? << 4 | digit(*low)?);
        rest = after;
    }
    let model = String::from_utf8(bytes).ok()?;
    (model_folder(&model).ok()? == folder).then_some(model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_refused_each_for_its_reason() {
        use NameError::*;
        let long = "x".repeat(300);
        for (name, reason) in [
            ("", Empty),
            ("../x", Character),
            ("..", Hidden),
            (".", Hidden),
            (".ssh", Hidden),
            ("/etc/x", Character),
            ("a/b", Character),
            ("a\\b", Character),
            ("C:x", Character),
            ("file::$DATA", Character),
            ("a\0b", Character),
            ("a\nb", Character),
            ("a\u{202e}fugg", Character),
            ("x*", Character),
            ("CON", Reserved),
            ("con.gguf", Reserved),
            ("Nul .tar.gz", Reserved),
            ("COM1", Reserved),
            ("lpt9.bin", Reserved),
            ("COM¹.txt", Reserved),
            ("CONOUT$", Reserved),
            ("x.", Edge),
            ("x ", Edge),
            (" x", Edge),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(check_file_name(name), Err(reason), "{name:?}");
        }
    }

    #[test]
    fn usual_names_pass() {
        for name in
            ["model-00001-of-00002.safetensors", "Qwen3 8B (Q4_K_M).gguf", "CONFIG", "COM10", "modèle.gguf"]
        {
            assert_eq!(check_file_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn folders_look_like_this() {
        for (model, folder) in [
            ("tiny", "tiny"),
            ("Qwen/Qwen3-8B", "Qwen%2FQwen3-8B"),
            ("..", "%2E%2E"),
            ("../x", "%2E.%2Fx"),
            ("con", "%63on"),
            ("nul.gguf", "%6Eul.gguf"),
            ("50%", "50%25"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(model_folder(model).as_deref(), Ok(folder));
        }
        assert_eq!(model_folder(&"x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(folder_model("a%2e"), None, "small digits");
        assert_eq!(folder_model(".partial"), None);
        assert_eq!(folder_model("%"), None);
    }

    proptest! {
        #[test]
        fn every_folder_is_a_plain_name_and_turns_back(model in ".{1,60}") {
            let folder = model_folder(&model);
            prop_assume!(folder.is_ok());
            let folder = folder.unwrap();
            prop_assert_eq!(check_file_name(&folder), Ok(()));
            prop_assert_eq!(folder_model(&folder), Some(model));
        }

        #[test]
        fn a_name_that_passes_stays_where_it_is_put(name in ".{0,30}") {
            if check_file_name(&name).is_ok() {
                let path = std::path::Path::new("folder").join(&name);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("folder")));
                prop_assert_eq!(path.components().count(), 2);
            }
        }
    }
}
