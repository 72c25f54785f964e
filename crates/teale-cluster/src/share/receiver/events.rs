//! What goes into the receiver, what comes out, and how far it is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use teale_wire::{
    CancelReason, ChunkData, ClusterMessage, ModelQueryResponse, ModelTransferChunk, NodeId, TransferId,
};
use thiserror::Error;

use super::{
    super::{
        manifest::{BlockRef, Manifest},
        names::NameError,
    },
    SourceFault,
};

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// Time went by; also implied by every other input.
    Tick,
    /// Somebody who can be reached and may have the model.
    Found(NodeId),
    /// Somebody who cannot be reached any more.
    Lost(NodeId),
    /// An answer to a query.
    Response(NodeId, Box<ModelQueryResponse>),
    /// A chunk.
    Chunk {
        /// Whose.
        peer: NodeId,
        /// What.
        chunk: Box<ModelTransferChunk>,
        /// Whether answers to this node's own requests come on the same link: they must not wait behind much.
        beside_answers: bool,
    },
    /// A source says that a transfer is complete.
    Complete(NodeId, TransferId),
    /// A source ends a transfer.
    Cancelled(NodeId, TransferId, Option<CancelReason>),
    /// The folder of [`Output::Begin`] is ready; these blocks are there already, and right.
    Begun(BTreeSet<BlockRef>),
    /// So many bytes of [`Output::Write`] of this source are written.
    Written(NodeId, u64),
    /// A block whose last piece was written: whether it is right.
    Checked(NodeId, BlockRef, Result<(), BadBlock>),
    /// Nothing of [`Output::Forget`] is under way any more.
    Forgotten(NodeId, BlockRef),
    /// [`Output::Finish`] is done.
    Finished,
    /// The disk does not do what it should.
    StorageFailed(String),
}

/// A block is not what it should be: no base64, or another hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock;

/// Something to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "each lives for a moment, one at a time")]
pub enum Output {
    /// Send this.
    Send(NodeId, ClusterMessage),
    /// Make the folder ready for these files; answered by [`Input::Begun`]. Whatever was begun before is void.
    Begin(Arc<Manifest>),
    /// Write a piece of a block and hash it. Pieces of one block come in order, without gaps; after the last one check
    /// the block, and say [`Input::Checked`].
    Write(Piece),
    /// Let go of a block after what was said of it before; answered by [`Input::Forgotten`].
    Forget(NodeId, BlockRef),
    /// A source is not used any more.
    Dropped(NodeId, SourceFault),
    /// All blocks are there and right: move the files into place; answered by [`Input::Finished`].
    Finish,
    /// The end.
    End(Result<(), PullError>),
    /// Nothing more to do until the next input, or until this moment.
    Wait(Option<Duration>),
}

/// A piece of a block.
#[derive(Debug)]
pub struct Piece {
    /// Whose.
    pub peer: NodeId,
    /// Of which block.
    pub at: BlockRef,
    /// Its place in the file, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub data: ChunkData,
    /// Whether it ends the block.
    pub is_last: bool,
}

/// Why a model could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PullError {
    /// Nobody who can be reached offers it.
    #[error("no node that can be reached offers this model")]
    NotFound,
    /// All sources are gone or were dropped; what came is kept for the next attempt.
    #[error(
        "no source is left ({dropped} dropped for what they sent); what came is kept, a new pull goes on from there"
    )]
    NoSource {
        /// Sources that broke a rule.
        dropped: usize,
    },
    /// The disk.
    #[error("{0}")]
    Storage(String),
    /// The user's: no folder can have this name.
    #[error("this model id cannot become a folder: {0}")]
    Name(#[from] NameError),
    /// The user's: the model is there already.
    #[error("the model is here already")]
    Exists,
    /// The user's: it is being fetched already.
    #[error("the model is being fetched already")]
    Running,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// How far a pull is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Bytes of the model; 0 until it is known.
    pub total: u64,
    /// Bytes that are here. Never goes back for one manifest.
    pub done: u64,
    /// Bytes that came over links, lost ones included.
    pub fetched: u64,
    /// Each source: who, bytes that came from it, bytes per second, how it stands.
    pub sources: Vec<SourceProgress>,
}

/// One source in a [`Progress`].
#[derive(Debug, Clone, PartialEq)]
pub struct SourceProgress {
    /// Who.
    pub node: NodeId,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Bytes per second.
    pub rate: f64,
    /// `fetching`, `waiting`, `gone`, `without`, `other files`, or why it was dropped.
    pub state: String,
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// Which model.
    pub model: String,
    /// A manifest that was begun before: it is preferred.
    pub begun: Option<Manifest>,
    /// How long to look for somebody who offers it.
    pub search: Duration,
    /// How long to go on, once it began, without any source.
    pub patience: Duration,
}
