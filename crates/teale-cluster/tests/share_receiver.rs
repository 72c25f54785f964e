//! A pull against sources that vanish, stall, lie, corrupt and flood: the result is the exact files or a named error, and
//! what reaches the disk is what was asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use sources::{BLOCK, Nature, Peer, World, chunk_of, file, is_truth, nature, node, noise, peer, response};
use teale_cluster::share::{
    BlockRef, Input, Manifest, ManifestError, NameError, Output, PullError, SourceFault, bounds,
};
use teale_wire::{ChunkData, Extra, ModelFile, ModelQueryResponse, ModelTransferChunk, TransferId};

#[test]
fn one_honest_source_is_enough() {
    let mut world = World::new(vec![peer(Nature::Honest, true)], BTreeSet::new());
    assert_eq!(world.run(), Ok(()));
    assert!(is_truth(&world.disk));
    assert_eq!(world.receiver.progress().fetched, 300_777);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let found = BTreeSet::from([BlockRef { file: 0, block: 1 }, BlockRef { file: 0, block: 2 }]);
    let mut world = World::new(vec![peer(Nature::Honest, true)], found);
    assert_eq!(world.run(), Ok(()));
    assert_eq!(world.receiver.progress().fetched, 300_777 - 2 * BLOCK as u64);
    assert_eq!(world.receiver.progress().done, 300_777);
}

#[test]
fn a_corrupting_source_is_named_dropped_and_costs_little() {
    let peers = vec![peer(Nature::Corrupts(3), true), peer(Nature::Honest, true)];
    let mut world = World::new(peers, BTreeSet::new());
    assert_eq!(world.run(), Ok(()));
    assert!(is_truth(&world.disk));
    assert_eq!(world.dropped, [(node(0), SourceFault::Corrupt)]);
    assert!(world.receiver.progress().fetched < 300_777 + 3 * BLOCK as u64);
}

#[test]
fn two_sources_share_the_work() {
    let mut world = World::new(vec![peer(Nature::Honest, true), peer(Nature::Honest, true)], BTreeSet::new());
    assert_eq!(world.run(), Ok(()));
    let progress = world.receiver.progress();
    assert!(progress.sources.iter().all(|source| source.bytes > 0), "{progress:?}");
    assert_eq!(progress.fetched, 300_777, "nothing was fetched twice");
}

#[test]
fn beside_answers_little_is_under_way() {
    let data = noise(12 << 20, 3);
    let mut giver = peer(Nature::Honest, true);
    giver.response = response(vec![file("big.gguf", &data, false)]);
    giver.files = BTreeMap::from([("big.gguf".to_owned(), Arc::new(data.clone()))]);
    let mut world = World::new(vec![giver], BTreeSet::new());
    world.give(Input::Found(node(0)));
    while world.end.is_none() {
        let (at, input) = world.wire.pop_front().expect("something is under way");
        world.now = world.now.max(at);
        // An answer comes in the middle of it.
        world.beside_answers = (4 << 20..8 << 20).contains(&world.last_done);
        world.give(input);
    }
    assert_eq!(world.end, Some(Ok(())));
    assert!(world.disk.files == [data]);
    let [alone, beside] = world.most_asked;
    assert!(alone >= 2 * bounds::RANGE, "{alone} bytes at once are slow");
    assert!((1..=bounds::WINDOW_BESIDE).contains(&beside), "{beside} bytes may stand before a token");
}

#[test]
fn a_source_that_vanishes_is_replaced() {
    let peers = vec![peer(Nature::Vanishes(4, false), true), peer(Nature::Honest, true)];
    let mut world = World::new(peers, BTreeSet::new());
    assert_eq!(world.run(), Ok(()));
    assert!(is_truth(&world.disk) && world.dropped.is_empty());
}

#[test]
fn each_lie_has_its_name() {
    for (nature, fault) in [
        (Nature::Corrupts(2), SourceFault::Corrupt),
        (Nature::Garbles(2), SourceFault::Corrupt),
        (Nature::Shifts(2), SourceFault::Wrong),
        (Nature::Renames(2), SourceFault::Wrong),
        (Nature::Overruns(2), SourceFault::Wrong),
        (Nature::Ends(2), SourceFault::Wrong),
        (Nature::Stops(2), SourceFault::Wrong),
        (Nature::Floods(2), SourceFault::Unasked),
        (Nature::FalseChain, SourceFault::Corrupt),
        (Nature::Stalls(2), SourceFault::Stalled),
    ] {
        let mut world = World::new(vec![peer(nature, true)], BTreeSet::new());
        assert_eq!(world.run(), Err(PullError::NoSource { dropped: 1 }), "{nature:?}");
        assert_eq!(world.dropped, [(node(0), fault)], "{nature:?}");
        assert!(!world.disk.finished);
    }
}

#[test]
fn nobody_has_it() {
    let mut world = World::new(vec![peer(Nature::Lacks, true)], BTreeSet::new());
    assert_eq!(world.run(), Err(PullError::NotFound));
    assert!(world.now < Duration::from_secs(60), "it is said soon");
    let mut world = World::new(Vec::new(), BTreeSet::new());
    assert_eq!(world.run(), Err(PullError::NotFound));
}

#[test]
fn a_liar_about_the_chain_gives_way_to_those_who_know_better() {
    let mut world =
        World::new(vec![peer(Nature::FalseChain, true), peer(Nature::Honest, true)], BTreeSet::new());
    assert_eq!(world.run(), Ok(()));
    assert!(is_truth(&world.disk));
}

#[test]
fn hostile_manifests_are_refused_each_for_its_reason() {
    let good = || file("a.gguf", &noise(100_000, 5), true);
    let named = |name: &str| vec![ModelFile { file_name: name.into(), ..good() }];
    let name = |reason| ManifestError::Name { index: 0, reason };
    let mut many_blocks = good();
    many_blocks.block_states = Some(Bytes::from(vec![0; 32 * 5]));
    let mut odd_states = good();
    odd_states.block_states = Some(Bytes::from(vec![0; 33]));
    let mut tiny_blocks = good();
    tiny_blocks.block_size_bytes = Some(64);
    let mut odd_blocks = good();
    odd_blocks.block_size_bytes = Some(65_537);
    let cases = [
        (Vec::new(), ManifestError::NoFiles),
        (named("../x"), name(NameError::Character)),
        (named("/etc/x"), name(NameError::Character)),
        (named("a/b"), name(NameError::Character)),
        (named("CON"), name(NameError::Reserved)),
        (named("a\0"), name(NameError::Character)),
        (named(&"x".repeat(300)), name(NameError::TooLong)),
        (named(".manifest.json"), name(NameError::Hidden)),
        (
            vec![good(), ModelFile { file_name: "A.GGUF".into(), ..good() }],
            ManifestError::Duplicate { index: 1 },
        ),
        (vec![ModelFile { sha256: "xyz".into(), ..good() }], ManifestError::Hash { index: 0 }),
        (vec![ModelFile { size_bytes: u64::MAX, ..good() }], ManifestError::TooBig),
        (vec![many_blocks], ManifestError::Blocks { index: 0 }),
        (vec![odd_states], ManifestError::Blocks { index: 0 }),
        (vec![tiny_blocks], ManifestError::Blocks { index: 0 }),
        (vec![odd_blocks], ManifestError::Blocks { index: 0 }),
        (vec![ModelFile { size_bytes: 0, block_states: None, ..good() }], ManifestError::Hash { index: 0 }),
    ];
    for (files, reason) in cases {
        assert_eq!(Manifest::check(&response(files)), Err(reason));
    }
    let lie = ModelQueryResponse { total_size_bytes: Some(1), ..response(vec![good()]) };
    assert_eq!(Manifest::check(&lie), Err(ManifestError::Total));
}

#[test]
fn a_million_chunks_nobody_asked_for_cost_nothing() {
    let mut world = World::new(vec![peer(Nature::Honest, true), peer(Nature::Honest, true)], BTreeSet::new());
    let chunk = ModelTransferChunk {
        transfer_id: TransferId::from_random([9; 16]),
        file_name: "big.gguf".into(),
        offset: u64::MAX,
        data: ChunkData::new(vec![0; 5000]),
        is_last_chunk: false,
        extra: Extra::new(),
    };
    for n in 0..1_000_000usize {
        world.receiver.handle(Duration::ZERO, chunk_of(node(n % 3), chunk.clone()));
        assert!(matches!(world.receiver.poll(), Output::Wait(_)), "a stranger's chunk has an effect");
    }
    assert_eq!(world.run(), Ok(()));
    assert!(is_truth(&world.disk));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// The one promise: exactly the files of one manifest that was offered, or a named error. With an honest source
    /// and a majority for its files, always the files.
    #[test]
    fn the_result_is_exact_or_an_error(natures in prop::collection::vec((nature(), 4096usize..70_000), 1..5), blocks: bool) {
        let peers: Vec<Peer> =
            natures.iter().map(|(nature, chunk)| Peer { chunk: *chunk, ..peer(*nature, blocks) }).collect();
        let mut world = World::new(peers, BTreeSet::new());
        let result = world.run();
        let honest = natures.iter().any(|(nature, _)| *nature == Nature::Honest);
        let other = natures.iter().any(|(nature, _)| *nature == Nature::Other);
        match result {
            Ok(()) => {
                prop_assert!(world.disk.finished);
                prop_assert!(other || is_truth(&world.disk));
            }
            Err(error) => {
                prop_assert!(!world.disk.finished);
                prop_assert!(!honest, "an honest source was there: {error}");
            }
        }
        for (peer, fault) in &world.dropped {
            let nature = natures.iter().enumerate().find(|(n, _)| node(*n) == *peer).unwrap().1.0;
            prop_assert!(!matches!(nature, Nature::Honest | Nature::Other | Nature::Lacks), "{nature:?} dropped: {fault}");
        }
    }
}
