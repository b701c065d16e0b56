//! `chainpool-place` as a process on real folders.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A folder to place into, one to keep tars in, and this process's owner.
struct Yard {
    root: TempDir,
    parts: TempDir,
    owner: (u32, u32),
}

impl Yard {
    fn new() -> Self {
        let (root, parts) = (
            TempDir::new().expect("a folder"),
            TempDir::new().expect("a folder"),
        );
        let found = fs::metadata(root.path()).expect("the folder is there");
        Self {
            owner: (found.uid(), found.gid()),
            root,
            parts,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn header(&self, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0.into());
        header.set_gid(self.owner.1.into());
        header.set_size(0);
        header
    }

    /// Writes a tar of files, in parts of at most `size` bytes.
    fn tar(&self, name: &str, files: &[(&str, &[u8], u32)], size: usize) -> Vec<PathBuf> {
        let mut tar = Builder::new(Vec::new());
        for (path, content, mode) in files {
            let mut header = self.header(EntryType::Regular, *mode);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, *content).expect("an entry");
        }
        self.split(name, &tar.into_inner().expect("a tar"), size)
    }

    fn split(&self, name: &str, tar: &[u8], size: usize) -> Vec<PathBuf> {
        let write = |(at, chunk)| {
            let path = self.parts.path().join(format!("{name}.{at}"));
            fs::write(&path, chunk).expect("a part");
            path
        };
        tar.chunks(size).enumerate().map(write).collect()
    }

    fn place(&self, always: &[PathBuf], once: &[PathBuf]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainpool-place"));
        command.arg("--root").arg(self.root.path());
        if !always.is_empty() {
            command.arg("--always").args(always);
        }
        if !once.is_empty() {
            command.arg("--once").args(once);
        }
        command.output().expect("chainpool-place starts")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("the file is there")
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    }

    /// Nothing that was only on the way is left.
    fn names(&self, path: &str) -> Vec<String> {
        let list = fs::read_dir(self.path(path)).expect("a folder");
        let mut names: Vec<_> = list
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

const WHOLE: usize = usize::MAX;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails_with(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(said(output).contains(words), "{}", said(output));
}

fn wipe(folders: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chainpool-place"))
        .arg("--wipe")
        .args(folders)
        .output()
        .expect("chainpool-place starts")
}

#[test]
fn files_are_placed_from_parts_with_their_modes() {
    let yard = Yard::new();
    let large = vec![b'x'; 100_000];
    let always = yard.tar(
        "a",
        &[
            ("config/app.toml", b"one", 0o640),
            ("config/large", &large, 0o400),
        ],
        1000,
    );
    assert!(always.len() > 90);
    let once = yard.tar("o", &[("data/state", b"0", 0o600)], 700);
    let output = yard.place(&always, &once);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        (yard.read("config/app.toml"), yard.mode("config/app.toml")),
        ("one".into(), 0o640)
    );
    assert_eq!(
        (
            fs::read(yard.path("config/large")).expect("a file"),
            yard.mode("config/large")
        ),
        (large, 0o400)
    );
    assert_eq!(
        (
            yard.read("data/state"),
            yard.mode("data/state"),
            yard.mode("data")
        ),
        ("0".into(), 0o600, 0o755)
    );
    assert_eq!(
        (yard.names("config"), yard.names("data")),
        (vec!["app.toml".into(), "large".into()], vec!["state".to_owned()])
    );
}

#[test]
fn the_second_time_one_list_is_written_again_and_the_other_is_not() {
    let yard = Yard::new();
    for (text, state) in [("one", "one"), ("two", "one")] {
        let always = yard.tar("a", &[("file", text.as_bytes(), 0o600)], WHOLE);
        let once = yard.tar("o", &[("state", text.as_bytes(), 0o600)], WHOLE);
        assert!(yard.place(&always, &once).status.success());
        assert_eq!(
            (yard.read("file"), yard.read("state")),
            (text.into(), state.into())
        );
    }
    // A link that leads nowhere is something, too.
    symlink("nowhere", yard.path("link")).expect("a link");
    assert!(
        yard.place(&[], &yard.tar("o", &[("link", b"x", 0o600)], WHOLE))
            .status
            .success()
    );
    assert!(!yard.path("nowhere").exists());
}

#[test]
fn what_an_earlier_placing_left_half_is_no_hindrance() {
    for directory in [false, true] {
        let yard = Yard::new();
        let draft = yard.path(".chainpool-place.new");
        if directory {
            fs::create_dir(draft).expect("a folder");
        } else {
            fs::write(draft, "half").expect("a file");
        }
        assert!(
            yard.place(&[], &yard.tar("o", &[("deep/state", b"whole", 0o600)], WHOLE))
                .status
                .success()
        );
        assert_eq!(
            (yard.read("deep/state"), yard.names("")),
            ("whole".into(), vec!["deep".to_owned()])
        );
    }
}

#[test]
fn links_and_paths_that_lead_elsewhere_are_refused_and_the_rest_is_placed() {
    let (yard, elsewhere) = (Yard::new(), TempDir::new().expect("a folder"));
    symlink(elsewhere.path(), yard.path("out")).expect("a link");
    symlink(elsewhere.path().join("target"), yard.path("file")).expect("a link");
    let files: &[(&str, &[u8], u32)] = &[
        ("out/stolen", b"x", 0o600),
        ("file", b"mine", 0o600),
        ("good", b"good", 0o600),
    ];
    let output = yard.place(&yard.tar("a", files, WHOLE), &[]);
    fails_with(&output, "out/stolen");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a folder").count(), 0);
    assert_eq!(
        (yard.read("file"), yard.read("good")),
        ("mine".into(), "good".into())
    );

    let mut header = yard.header(EntryType::Regular, 0o600);
    header.as_gnu_mut().expect("gnu").name[..8].copy_from_slice(b"../sneak");
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, std::io::empty()).expect("an entry");
    let mut link = yard.header(EntryType::Symlink, 0o777);
    tar.append_link(&mut link, "l", "/etc").expect("an entry");
    let output = yard.place(&yard.split("x", &tar.into_inner().expect("a tar"), WHOLE), &[]);
    fails_with(&output, "../sneak: the path leads out of the root");
    assert!(
        said(&output).contains("l: only files and directories"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_missing_part_is_told_and_nothing_is_placed() {
    let yard = Yard::new();
    let mut parts = yard.tar("a", &[("one", b"1", 0o600), ("two", b"2", 0o600)], 1024);
    parts.pop();
    fails_with(&yard.place(&parts, &[]), "no end");
    fails_with(&yard.place(&[yard.parts.path().join("absent")], &[]), "absent");
    assert!(yard.names("").is_empty());
}

#[test]
fn a_directory_entry_gives_an_owner_and_keeps_the_mode() {
    let yard = Yard::new();
    fs::create_dir(yard.path("mount")).expect("a folder");
    fs::set_permissions(yard.path("mount"), fs::Permissions::from_mode(0o2750)).expect("a mode");
    let mut tar = Builder::new(Vec::new());
    for name in ["mount", "made"] {
        tar.append_data(
            &mut yard.header(EntryType::Directory, 0o711),
            name,
            std::io::empty(),
        )
        .expect("an entry");
    }
    let parts = yard.split("d", &tar.into_inner().expect("a tar"), WHOLE);
    assert!(yard.place(&parts, &[]).status.success());
    assert!(yard.place(&parts, &parts).status.success());
    assert_eq!((yard.mode("mount"), yard.mode("made")), (0o2750, 0o711));
}

#[test]
fn owners_are_given_by_root_and_else_told_by_file() {
    let mut yard = Yard::new();
    let root = yard.owner.0 == 0;
    yard.owner = (4711, 4712);
    let output = yard.place(&yard.tar("a", &[("deep/file", b"x", 0o640)], WHOLE), &[]);
    if root {
        assert!(output.status.success(), "{}", said(&output));
        for path in ["deep", "deep/file"] {
            let found = fs::metadata(yard.path(path)).expect("it is there");
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{path}");
        }
    } else {
        fails_with(&output, "deep/file: the owner 4711:4712 cannot be set");
        assert!(yard.names("").is_empty());
    }
}

#[test]
fn a_wipe_leaves_the_folders_and_nothing_in_them() {
    let (yard, elsewhere) = (Yard::new(), TempDir::new().expect("a folder"));
    fs::write(elsewhere.path().join("kept"), "x").expect("a file");
    for path in ["one/deep/er", "two"] {
        fs::create_dir_all(yard.path(path)).expect("folders");
    }
    fs::write(yard.path("one/deep/er/.hidden"), "secret").expect("a file");
    symlink(elsewhere.path(), yard.path("two/link")).expect("a link");
    if yard.owner.0 == 0 {
        chown(yard.path("one/deep"), Some(4711), Some(4711)).expect("an owner");
    }
    let (one, two) = (yard.path("one"), yard.path("two"));
    let output = wipe(&[&one, &two]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        said(&output)
    );
    assert!(
        yard.names("one").is_empty()
            && yard.names("two").is_empty()
            && elsewhere.path().join("kept").exists()
    );

    fails_with(&wipe(&[&yard.path("absent")]), "absent");
    symlink(elsewhere.path(), yard.path("way")).expect("a link");
    fails_with(&wipe(&[&yard.path("way")]), "links are not followed");
    assert!(elsewhere.path().join("kept").exists());
}

#[test]
fn wrong_arguments_are_told_with_the_usage() {
    for arguments in [
        &[][..],
        &["--help"],
        &["x"],
        &["--root", "/", "--wipe", "/x"],
        &["--always", "a", "--wipe", "b"],
        &["--root", "/"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_chainpool-place"))
            .args(arguments)
            .output()
            .expect("chainpool-place starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains("usage:"), "{arguments:?}");
    }
}
