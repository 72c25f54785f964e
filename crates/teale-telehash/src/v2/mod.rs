//! TeleHash v2, as the draft of 2012-08-03 describes it.
