//! Sharing model files: what is offered, fetching from several sources, sending under caps. Pure; files are `io::share`'s.

pub mod bounds;
mod digest;
mod manifest;
mod names;
mod receiver;
mod sender;

pub use digest::{Chain, FIRST, State};
pub use manifest::{Block, BlockRef, FileEntry, Manifest, ManifestError, block_size};
pub use names::{NameError, check_file_name, folder_model, model_folder};
pub use receiver::{
    BadBlock, Input, Output, PREPARING, Piece, Progress, PullError, Receiver, ReceiverConfig, SourceFault,
    SourceProgress,
};
pub use sender::{Offered, Sender, SenderConfig, SenderInput, SenderOutput};
