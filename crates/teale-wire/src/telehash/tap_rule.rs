//! What a `.tap` asks for: rules about signals.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::de::{MapAccess, SeqAccess};

use super::{
    End, Signals,
    lenient::{Any, List, Take, Text},
    telex::{Key, write_text},
};
use crate::{WireError, limits};

/// One rule of a tap: signals that must have a value, and signals that must be there.
///
/// It has at least one condition and at most [`limits::TAP_KEYS`], all about signals: what else could be written in a
/// telex never matches anything, and cannot be made here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapRule {
    // In order and each once, as the maps they are made of. A switch holds a rule for each of its peers, and a map's
    // smallest node has room for eleven.
    is: Box<[(Box<str>, Box<str>)]>,
    has: Box<[Box<str>]>,
}

impl TapRule {
    /// A rule from signals with their values and signals of any value.
    ///
    /// # Errors
    /// [`WireError::NotWritable`]: no condition, too many, or one about something that is no signal.
    pub fn new<K: Into<String>, V: Into<String>, H: Into<String>>(
        is: impl IntoIterator<Item = (K, V)>,
        has: impl IntoIterator<Item = H>,
    ) -> Result<Self, WireError> {
        let is = is.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let has = has.into_iter().map(Into::into).collect();
        Self::checked(is, has).ok_or_else(|| WireError::NotWritable {
            kind: "tap rule",
            reason: format!("a rule has 1 to {} conditions, each about a signal", limits::TAP_KEYS),
        })
    }

    /// Every signal aimed at an end.
    pub fn of_end(end: End) -> Self {
        Self { is: [("+end".into(), end.to_string().into())].into(), has: Box::default() }
    }

    /// Requests to open a port that are aimed at an end: what each switch taps its own end for.
    pub fn of_pop(end: End) -> Self {
        Self { has: ["+pop".into()].into(), ..Self::of_end(end) }
    }

    fn checked(is: BTreeMap<String, String>, has: BTreeSet<String>) -> Option<Self> {
        let about_signals = is.keys().chain(&has).all(|key| key.starts_with('+'));
        let few = (1..=limits::TAP_KEYS).contains(&(is.len() + has.len()));
        (about_signals && few).then(|| Self {
            is: is.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            has: has.into_iter().map(Into::into).collect(),
        })
    }

    /// Signals that must have exactly this value.
    pub fn is(&self) -> impl Iterator<Item = (&str, &str)> {
        self.is.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Signals that must be there, whatever their value.
    pub fn has(&self) -> impl Iterator<Item = &str> {
        self.has.iter().map(|key| &**key)
    }

    /// Whether a telex with these signals is one that was asked for.
    pub fn matches(&self, signals: &Signals) -> bool {
        self.is().all(|(key, value)| signals.get(key).is_some_and(|given| given == value))
            && self.has().all(|key| signals.contains_key(key))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if !self.is.is_empty() {
            out.extend_from_slice(b"\"is\":");
            for (n, (key, value)) in self.is.iter().enumerate() {
                out.push(if n == 0 { b'{' } else { b',' });
                write_text(out, key);
                out.push(b':');
                write_text(out, value);
            }
            out.push(b'}');
        }
        if !self.has.is_empty() {
            out.extend_from_slice(if self.is.is_empty() { b"\"has\":" } else { b",\"has\":" });
            for (n, key) in self.has.iter().enumerate() {
                out.push(if n == 0 { b'[' } else { b',' });
                write_text(out, key);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

/// Reads a `.tap`. A rule that could never match is left out, as is one too many.
pub(super) fn rules() -> List<fn() -> Rule> {
    List { most: limits::TAP_RULES, element: || Rule }
}

/// Reads one rule; `None` for one that could never match.
pub(super) struct Rule;

impl<'de> Take<'de> for Rule {
    type Out = Option<TapRule>;
    fn other(self) -> Option<TapRule> {
        None
    }
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Option<TapRule>, A::Error> {
        let (mut is, mut has) = (Some(BTreeMap::new()), Some(BTreeSet::new()));
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "is" => is = object.next_value_seed(Any(Is))?,
                "has" => has = object.next_value_seed(Any(Has))?,
                _ => _ = object.next_value::<serde::de::IgnoredAny>()?,
            }
        }
        Ok(is.zip(has).and_then(|(is, has)| TapRule::checked(is, has)))
    }
}

/// Reads `is`; `None` unless all values are text.
struct Is;

impl<'de> Take<'de> for Is {
    type Out = Option<BTreeMap<String, String>>;
    fn other(self) -> Self::Out {
        None
    }
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Out, A::Error> {
        let mut is = Some(BTreeMap::new());
        while let Some(key) = object.next_key::<Cow<'de, str>>()? {
            match (&mut is, object.next_value_seed(Any(Text))?) {
                (Some(is), Some(value)) => _ = is.insert(key.into_owned(), value),
                _ => is = None,
            }
        }
        Ok(is)
    }
}

/// Reads `has`; `None` unless all elements are text.
struct Has;

impl<'de> Take<'de> for Has {
    type Out = Option<BTreeSet<String>>;
    fn other(self) -> Self::Out {
        None
    }
    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        let mut has = Some(BTreeSet::new());
        while let Some(key) = list.next_element_seed(Any(Text))? {
            match (&mut has, key) {
                (Some(has), Some(key)) => _ = has.insert(key),
                _ => has = None,
            }
        }
        Ok(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(pairs: &[(&str, &str)]) -> Signals {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold() {
        let rule = TapRule::new([("+end", "a")], ["+foo"]).unwrap();
        assert!(rule.matches(&signals(&[("+end", "a"), ("+foo", "x"), ("+bar", "y")])));
        assert!(rule.matches(&signals(&[("+end", "a"), ("+foo", "")])), "being there is enough");
        assert!(!rule.matches(&signals(&[("+end", "a")])));
        assert!(!rule.matches(&signals(&[("+end", "b"), ("+foo", "x")])));
        assert!(!rule.matches(&signals(&[])));
    }

    #[test]
    fn a_rule_has_conditions_and_they_are_about_signals() {
        let none: [(&str, &str); 0] = [];
        for (is, has) in [(vec![], vec![]), (vec![("end", "a")], vec![]), (vec![("+end", "a")], vec![".tap"])]
        {
            assert!(matches!(TapRule::new(is, has), Err(WireError::NotWritable { .. })));
        }
        let keys = |n: usize| (0..n).map(|n| format!("+{n}"));
        assert!(TapRule::new(none, keys(limits::TAP_KEYS)).is_ok());
        assert!(TapRule::new(none, keys(limits::TAP_KEYS + 1)).is_err());
    }
}
