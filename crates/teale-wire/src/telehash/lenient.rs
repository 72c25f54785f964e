//! JSON values of one kind where a stranger may have sent any other: that is passed over, not an error.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A number as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// A whole number that is not negative; one with a fraction of zero is whole too.
    Whole(u64),
    /// Any other one.
    Other,
}

impl Number {
    fn from_f64(number: f64) -> Self {
        /// Up to here every whole number is an f64 of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
            return Self::Whole(number as u64);
        }
        Self::Other
    }
}

/// Takes a value of the kinds it knows. What it does not override is passed over, and [`other`](Self::other) is the answer.
pub(super) trait Take<'de>: Sized {
    /// What comes of it.
    type Out;

    /// A value of a kind that is not wanted.
    fn other(self) -> Self::Out;

    fn text(self, _text: &str) -> Self::Out {
        self.other()
    }

    fn number(self, _number: Number) -> Self::Out {
        self.other()
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other())
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Out, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other())
    }
}

/// Reads any value with a [`Take`].
pub(super) struct Any<T>(pub(super) T);

impl<'de, T: Take<'de>> DeserializeSeed<'de> for Any<T> {
    type Value = T::Out;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Take<'de>> Visitor<'de> for Any<T> {
    type Value = T::Out;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T::Out, E> {
        Ok(self.0.other())
    }

    fn visit_unit<E: Error>(self) -> Result<T::Out, E> {
        Ok(self.0.other())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T::Out, E> {
        Ok(self.0.number(u64::try_from(number).map_or(Number::Other, Number::Whole)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T::Out, E> {
        Ok(self.0.number(Number::Whole(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T::Out, E> {
        Ok(self.0.number(Number::from_f64(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T::Out, E> {
        Ok(self.0.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T::Out, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T::Out, A::Error> {
        self.0.object(object)
    }
}

/// Text that stays text.
pub(super) struct Text;

impl Take<'_> for Text {
    type Out = Option<String>;
    fn other(self) -> Option<String> {
        None
    }
    fn text(self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// Text that some function makes sense of.
pub(super) struct Parsed<T>(pub(super) fn(&str) -> Option<T>);

impl<T> Take<'_> for Parsed<T> {
    type Out = Option<T>;
    fn other(self) -> Option<T> {
        None
    }
    fn text(self, text: &str) -> Option<T> {
        self.0(text)
    }
}

/// A whole number that is not negative.
pub(super) struct Whole;

impl Take<'_> for Whole {
    type Out = Option<u64>;
    fn other(self) -> Option<u64> {
        None
    }
    fn number(self, number: Number) -> Option<u64> {
        match number {
            Number::Whole(number) => Some(number),
            Number::Other => None,
        }
    }
}

/// The same, its decimal digits as text included.
pub(super) struct WholeOrDigits;

impl Take<'_> for WholeOrDigits {
    type Out = Option<u64>;
    fn other(self) -> Option<u64> {
        None
    }
    fn number(self, number: Number) -> Option<u64> {
        Whole.number(number)
    }
    fn text(self, text: &str) -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    }
}

/// A list of which each element that makes sense is kept, up to a number of them.
pub(super) struct List<F> {
    pub(super) most: usize,
    pub(super) element: F,
}

impl<'de, T, E, F> Take<'de> for List<F>
where
    F: Fn() -> E,
    E: Take<'de, Out = Option<T>>,
{
    type Out = Option<Vec<T>>;
    fn other(self) -> Option<Vec<T>> {
        None
    }
    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        let mut kept = Vec::new();
        while let Some(element) = list.next_element_seed(Any((self.element)()))? {
            if let Some(element) = element
                && kept.len() < self.most
            {
                kept.push(element);
            }
        }
        Ok(Some(kept))
    }
}
