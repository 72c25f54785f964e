//! TeleHash v1, as its pages of 2011 describe it.
