//! When the model somebody asks for is the model somebody has.

/// Whether `have` answers for `asked`: the same id, or the same last part of the path, letter case aside.
/// Never a substring, and an empty name matches nothing. Aliases are the caller's to expand.
///
/// ```
/// use teale_wire::model_matches;
/// assert!(model_matches("qwen3-8b", "Qwen/Qwen3-8B"));
/// assert!(!model_matches("q", "Qwen/Qwen3-8B"));
/// ```
pub fn model_matches(asked: &str, have: &str) -> bool {
    if asked.is_empty() || have.is_empty() {
        return false;
    }
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    if same(asked, have) {
        return true;
    }
    let last = have.rsplit('/').next().unwrap_or(have);
    !asked.contains('/') && !last.is_empty() && same(asked, last)
}
