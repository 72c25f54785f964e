//! The key file on a real file system.

#![cfg(all(feature = "io", unix))]
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    sync::Barrier,
};

use teale_identity::{Identity, KeyFile, KeyFileError, NodeId};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_missing_file_is_made_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").join("b").join("wan-identity.key");
    assert!(matches!(KeyFile::new(&path).load(), Err(KeyFileError::NotFound { .. })));

    let made = Identity::load_or_create(&path).unwrap().node_id();
    assert_eq!(fs::read(&path).unwrap().len(), 32);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else stays behind");
    assert_eq!(Identity::load_or_create(&path).unwrap().node_id(), made);
    assert_eq!(KeyFile::new(&path).load().unwrap().node_id(), made);
}

#[test]
fn a_file_without_a_folder_in_its_path_is_one_in_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    let status = child(Path::new("bare.key")).current_dir(folder.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(mode(&folder.path().join("bare.key")), 0o600);
}

#[test]
fn the_file_is_the_seed_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    write(&path, &[0x42; 32], 0o400);
    let expected = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
    assert_eq!(Identity::load_or_create(&path).unwrap().node_id().to_string(), expected);
}

#[test]
fn an_existing_file_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for size in [0, 31, 33, 64, 100_000] {
        let content = vec![7; size];
        write(&path, &content, 0o600);
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::WrongSize { found, .. } if found == size as u64), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(!KeyFile::new(&path).create(&Identity::from_seed([1; 32])).unwrap());
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_others_can_touch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for bad in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777] {
        write(&path, &[7; 32], bad);
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::ReadableByOthers { mode, .. } if mode == bad), "{error}");
        let advice = format!("chmod 600 {}", path.display());
        assert!(error.to_string().ends_with(&advice), "{error}");
        assert_eq!(mode(&path), bad, "left as it was");
    }
    for good in [0o600, 0o400, 0o700] {
        write(&path, &[7; 32], good);
        assert!(Identity::load_or_create(&path).is_ok(), "{good:o}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link, dangling) =
        (folder.path().join("key"), folder.path().join("link"), folder.path().join("dangling"));
    write(&target, &[7; 32], 0o600);
    symlink(&target, &link).unwrap();
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    for link in [&link, &dangling] {
        let error = Identity::load_or_create(link).unwrap_err();
        assert!(matches!(error, KeyFileError::SymbolicLink { .. }), "{error}");
    }
    assert!(!folder.path().join("nowhere").exists());

    let error = Identity::load_or_create(folder.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
    let error = Identity::load_or_create(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");

    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg("-m600").arg(&pipe).status().unwrap().success());
    let error = Identity::load_or_create(&pipe).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
}

#[test]
fn folders_above_may_be_links_but_not_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink(folder.path().join("real"), folder.path().join("linked")).unwrap();
    assert!(Identity::load_or_create(&folder.path().join("linked").join("key")).is_ok());
    assert!(folder.path().join("real").join("key").exists());

    fs::write(folder.path().join("file"), "").unwrap();
    let error = Identity::load_or_create(&folder.path().join("file").join("key")).unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
    let error = KeyFile::new("/").create(&Identity::from_seed([1; 32])).unwrap_err();
    assert!(matches!(error, KeyFileError::NoFileName { .. }), "{error}");
}

#[test]
fn errors_show_no_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    write(&path, b"a secret of thirty-three bytes...", 0o600);
    let error = Identity::load_or_create(&path).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn many_threads_at_once_get_one_key() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = folder.path().join(round.to_string());
        let start = Barrier::new(8);
        let ids: HashSet<NodeId> = std::thread::scope(|scope| {
            let load = || {
                start.wait();
                Identity::load_or_create(&path).unwrap().node_id()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20);
}

#[test]
fn many_processes_at_once_get_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let children: Vec<_> = (0..8).map(|_| child(&path).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let ids: HashSet<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_whitespace().find_map(|word| word.strip_prefix("node=")).unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids, HashSet::from([KeyFile::new(&path).load().unwrap().node_id().to_string()]));
}

const CHILD_KEY: &str = "TEALE_TEST_CHILD_KEY";

/// This test program again, running only the test below.
fn child(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]).env(CHILD_KEY, path);
    command
}

/// Does nothing unless started by [`child`].
#[test]
#[allow(clippy::print_stdout)]
fn child_process() {
    if let Some(path) = std::env::var_os(CHILD_KEY) {
        println!("node={}", Identity::load_or_create(Path::new(&path)).unwrap().node_id());
    }
}
