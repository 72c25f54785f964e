//! Where in the DHT a model's providers and seekers meet.

use teale_telehash::{End, end_of};

/// The names under which a model is looked for: its id in small letters, and the last part of a path, as routing
/// takes them for the same.
pub(super) fn names(model: &str) -> Vec<String> {
    let whole = model.to_lowercase();
    let last = whole.rsplit('/').next().unwrap_or_default().to_owned();
    let mut names = vec![whole];
    if !last.is_empty() && last != names[0] {
        names.push(last);
    }
    names
}

/// The end of a name: its SHA-1.
pub(super) fn end(name: &str) -> End {
    end_of(name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_each_of_its_names() {
        assert_eq!(names("Owner/Some-Model"), ["owner/some-model", "some-model"]);
        assert_eq!(names("demo"), ["demo"]);
        assert_eq!(names("odd/"), ["odd/"]);
        assert_eq!(end("Demo"), end_of("demo"));
    }
}
