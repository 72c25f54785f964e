//! Fields with bounds: how serde reads and writes text, lists and numbers that a stranger chose.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serializer, de, ser};

use crate::{ModelFile, ModelOffer, ResumePoint, limits};

/// Text of at most `MAX` bytes.
struct Text<const MAX: usize>(String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MAX: usize>;
        impl<const MAX: usize> de::Visitor<'_> for Visitor<MAX> {
            type Value = Text<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "text of at most {MAX} bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.len() > MAX {
                    return Err(E::custom(format_args!("text of at most {MAX} bytes is expected")));
                }
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// At most `ITEMS` texts of at most `MAX` bytes each.
struct List<const ITEMS: usize, const MAX: usize>(Vec<String>);

impl<'de, const ITEMS: usize, const MAX: usize> Deserialize<'de> for List<ITEMS, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const ITEMS: usize, const MAX: usize>;
        impl<'de, const ITEMS: usize, const MAX: usize> de::Visitor<'de> for Visitor<ITEMS, MAX> {
            type Value = List<ITEMS, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {ITEMS} texts of at most {MAX} bytes")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(Text(text)) = seq.next_element::<Text<MAX>>()? {
                    if texts.len() == ITEMS {
                        return Err(de::Error::custom(format_args!("at most {ITEMS} items are expected")));
                    }
                    texts.push(text);
                }
                Ok(List(texts))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// At most `ITEMS` items.
struct Items<T, const ITEMS: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const ITEMS: usize> Deserialize<'de> for Items<T, ITEMS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T, const ITEMS: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const ITEMS: usize> de::Visitor<'de> for Visitor<T, ITEMS> {
            type Value = Items<T, ITEMS>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {ITEMS} items")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == ITEMS {
                        return Err(de::Error::custom(format_args!("at most {ITEMS} items are expected")));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Visitor(PhantomData))
    }
}

/// A number without a fraction; `10.0` is one too, as some peers write it.
struct Whole<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: TryFrom<u64>> de::Visitor<'_> for Visitor<T> {
            type Value = Whole<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number of at most {} bits", size_of::<T>() * 8)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                T::try_from(number).map(Whole).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                /// Up to here every whole number is an f64 of its own.
                const EXACT: f64 = 9_007_199_254_740_992.0;
                if number.fract() != 0.0 || !(0.0..=EXACT).contains(&number) {
                    return Err(E::custom("a whole number is expected"));
                }
                self.visit_u64(number as u64)
            }
        }
        deserializer.deserialize_u64(Visitor(PhantomData))
    }
}

/// Declares readers: the name, the type inside, the type outside.
macro_rules! readers {
    ($( $name:ident: $inner:ty => $outer:ty; )*) => {$(
        pub(crate) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$outer, D::Error> {
            <$inner>::deserialize(deserializer).map(|inner| inner.0)
        }
    )*};
}

/// The same for fields that may be null or missing.
macro_rules! opt_readers {
    ($( $name:ident: $inner:ty => $outer:ty; )*) => {$(
        pub(crate) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$outer>, D::Error> {
            Option::<$inner>::deserialize(deserializer).map(|inner| inner.map(|inner| inner.0))
        }
    )*};
}

readers! {
    name: Text<{ limits::DISPLAY_NAME }> => String;
    word: Text<{ limits::WORD }> => String;
    model: Text<{ limits::MODEL_ID }> => String;
    complaint: Text<{ limits::ERROR_TEXT }> => String;
    models: List<{ limits::LOADED_MODELS }, { limits::MODEL_ID }> => Vec<String>;
    files: Items<ModelFile, { limits::MODEL_FILES }> => Vec<ModelFile>;
    offers: Items<ModelOffer, { limits::OFFERED_MODELS }> => Vec<ModelOffer>;
    resume_points: Items<ResumePoint, { limits::MODEL_FILES }> => Vec<ResumePoint>;
    whole: Whole<u32> => u32;
    whole64: Whole<u64> => u64;
}

opt_readers! {
    opt_word: Text<{ limits::WORD }> => String;
    opt_model: Text<{ limits::MODEL_ID }> => String;
    opt_models: List<{ limits::LOADED_MODELS }, { limits::MODEL_ID }> => Vec<String>;
    opt_ptn_ids: List<{ limits::PTN_IDS }, { limits::WORD }> => Vec<String>;
    opt_whole: Whole<u32> => u32;
    opt_whole64: Whole<u64> => u64;
}

/// Writes a number that JSON can carry.
pub(crate) fn finite<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !number.is_finite() {
        return Err(ser::Error::custom("JSON has no such number"));
    }
    serializer.serialize_f64(*number)
}

/// The same where there may be none.
pub(crate) fn opt_finite<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => finite(number, serializer),
        None => serializer.serialize_none(),
    }
}

/// Chaining values: bytes as base64 text, or nothing.
pub(crate) mod opt_base64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Text, limits};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let text = Option::<Text<{ limits::BLOCK_STATES.div_ceil(3) * 4 }>>::deserialize(deserializer)?;
        let decode = |Text(text)| STANDARD.decode(text).map(Bytes::from);
        text.map(decode).transpose().map_err(|_| de::Error::custom("not padded standard base64"))
    }
}
