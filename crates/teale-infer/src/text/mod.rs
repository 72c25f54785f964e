//! From a model's bytes to the text a caller sees: characters stay whole, stop texts stay out.

mod stop;
mod utf8;

pub use stop::{Found, StopFilter};
pub use utf8::Utf8Filter;
