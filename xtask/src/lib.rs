//! What the workspace's commands and their tests share.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod gguf;
pub mod tiny_model;
