//! `chainpool-place` as a process on real directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A target directory, a directory for tars, and the owner of this process.
struct Fixture {
    root: TempDir,
    parts: TempDir,
    owner: (u32, u32),
}

impl Fixture {
    fn new() -> Self {
        let (root, parts) = (
            TempDir::new().expect("a directory"),
            TempDir::new().expect("a directory"),
        );
        let found = fs::metadata(root.path()).expect("the directory exists");
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
        fs::read_to_string(self.path(path)).expect("the file exists")
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path))
            .expect("it exists")
            .permissions()
            .mode()
            & 0o7777
    }

    /// The names in a directory, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let list = fs::read_dir(self.path(path)).expect("a directory");
        let mut names: Vec<_> = list
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// The part size for a tar in one part.
const ONE_PART: usize = usize::MAX;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails_with(output: &Output, message: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert!(stderr(output).contains(message), "{}", stderr(output));
}

fn wipe(directories: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chainpool-place"))
        .arg("--wipe")
        .args(directories)
        .output()
        .expect("chainpool-place starts")
}

#[test]
fn files_are_placed_from_parts_with_their_modes() {
    let fixture = Fixture::new();
    let large = vec![b'x'; 100_000];
    let always = fixture.tar(
        "a",
        &[
            ("config/app.toml", b"one", 0o640),
            ("config/large", &large, 0o400),
        ],
        1000,
    );
    assert!(always.len() > 90);
    let once = fixture.tar("o", &[("data/state", b"0", 0o600)], 700);
    let output = fixture.place(&always, &once);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        (fixture.read("config/app.toml"), fixture.mode("config/app.toml")),
        ("one".into(), 0o640)
    );
    assert_eq!(
        (
            fs::read(fixture.path("config/large")).expect("a file"),
            fixture.mode("config/large")
        ),
        (large, 0o400)
    );
    assert_eq!(
        (
            fixture.read("data/state"),
            fixture.mode("data/state"),
            fixture.mode("data")
        ),
        ("0".into(), 0o600, 0o755)
    );
    assert_eq!(
        (fixture.names("config"), fixture.names("data")),
        (vec!["app.toml".into(), "large".into()], vec!["state".to_owned()])
    );
}

#[test]
fn a_second_run_overwrites_only_the_always_list() {
    let fixture = Fixture::new();
    for (text, state) in [("one", "one"), ("two", "one")] {
        let always = fixture.tar("a", &[("file", text.as_bytes(), 0o600)], ONE_PART);
        let once = fixture.tar("o", &[("state", text.as_bytes(), 0o600)], ONE_PART);
        assert!(fixture.place(&always, &once).status.success());
        assert_eq!(
            (fixture.read("file"), fixture.read("state")),
            (text.into(), state.into())
        );
    }
    // A dangling link counts as existing.
    symlink("nowhere", fixture.path("link")).expect("a link");
    assert!(
        fixture
            .place(&[], &fixture.tar("o", &[("link", b"x", 0o600)], ONE_PART))
            .status
            .success()
    );
    assert!(!fixture.path("nowhere").exists());
}

#[test]
fn drafts_of_an_interrupted_run_are_replaced() {
    for directory in [false, true] {
        let fixture = Fixture::new();
        let draft = fixture.path(".chainpool-place.new");
        if directory {
            fs::create_dir(draft).expect("a directory");
        } else {
            fs::write(draft, "partial").expect("a file");
        }
        assert!(
            fixture
                .place(
                    &[],
                    &fixture.tar("o", &[("deep/state", b"complete", 0o600)], ONE_PART)
                )
                .status
                .success()
        );
        assert_eq!(
            (fixture.read("deep/state"), fixture.names("")),
            ("complete".into(), vec!["deep".to_owned()])
        );
    }
}

#[test]
fn links_and_paths_out_of_the_root_are_refused_and_other_files_are_placed() {
    let (fixture, elsewhere) = (Fixture::new(), TempDir::new().expect("a directory"));
    symlink(elsewhere.path(), fixture.path("out")).expect("a link");
    symlink(elsewhere.path().join("target"), fixture.path("file")).expect("a link");
    let files: &[(&str, &[u8], u32)] = &[
        ("out/stolen", b"x", 0o600),
        ("file", b"mine", 0o600),
        ("good", b"good", 0o600),
    ];
    let output = fixture.place(&fixture.tar("a", files, ONE_PART), &[]);
    fails_with(&output, "out/stolen");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
    assert_eq!(
        (fixture.read("file"), fixture.read("good")),
        ("mine".into(), "good".into())
    );

    let mut header = fixture.header(EntryType::Regular, 0o600);
    header.as_gnu_mut().expect("gnu").name[..8].copy_from_slice(b"../sneak");
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, std::io::empty()).expect("an entry");
    let mut link = fixture.header(EntryType::Symlink, 0o777);
    tar.append_link(&mut link, "l", "/etc").expect("an entry");
    let output = fixture.place(
        &fixture.split("x", &tar.into_inner().expect("a tar"), ONE_PART),
        &[],
    );
    fails_with(&output, "../sneak: the path is outside the root");
    assert!(
        stderr(&output).contains("l: unsupported entry type"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_missing_part_is_an_error_and_nothing_is_placed() {
    let fixture = Fixture::new();
    let mut parts = fixture.tar("a", &[("one", b"1", 0o600), ("two", b"2", 0o600)], 1024);
    parts.pop();
    fails_with(&fixture.place(&parts, &[]), "no end");
    fails_with(
        &fixture.place(&[fixture.parts.path().join("absent")], &[]),
        "absent",
    );
    assert!(fixture.names("").is_empty());
}

#[test]
fn an_existing_directory_keeps_its_mode() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("mount")).expect("a directory");
    fs::set_permissions(fixture.path("mount"), fs::Permissions::from_mode(0o2750)).expect("a mode");
    let mut tar = Builder::new(Vec::new());
    for name in ["mount", "made"] {
        tar.append_data(
            &mut fixture.header(EntryType::Directory, 0o711),
            name,
            std::io::empty(),
        )
        .expect("an entry");
    }
    let parts = fixture.split("d", &tar.into_inner().expect("a tar"), ONE_PART);
    assert!(fixture.place(&parts, &[]).status.success());
    assert!(fixture.place(&parts, &parts).status.success());
    assert_eq!((fixture.mode("mount"), fixture.mode("made")), (0o2750, 0o711));
}

#[test]
fn only_root_can_change_owners() {
    let mut fixture = Fixture::new();
    let root = fixture.owner.0 == 0;
    fixture.owner = (4711, 4712);
    let output = fixture.place(&fixture.tar("a", &[("deep/file", b"x", 0o640)], ONE_PART), &[]);
    if root {
        assert!(output.status.success(), "{}", stderr(&output));
        for path in ["deep", "deep/file"] {
            let found = fs::metadata(fixture.path(path)).expect("it exists");
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{path}");
        }
    } else {
        fails_with(&output, "deep/file: cannot change the owner from");
        assert!(fixture.names("").is_empty());
    }
}

#[test]
fn a_wipe_keeps_only_the_empty_directories() {
    let (fixture, elsewhere) = (Fixture::new(), TempDir::new().expect("a directory"));
    fs::write(elsewhere.path().join("kept"), "x").expect("a file");
    for path in ["one/deep/er", "two"] {
        fs::create_dir_all(fixture.path(path)).expect("directories");
    }
    fs::write(fixture.path("one/deep/er/.hidden"), "secret").expect("a file");
    symlink(elsewhere.path(), fixture.path("two/link")).expect("a link");
    if fixture.owner.0 == 0 {
        chown(fixture.path("one/deep"), Some(4711), Some(4711)).expect("an owner");
    }
    let (one, two) = (fixture.path("one"), fixture.path("two"));
    let output = wipe(&[&one, &two]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        stderr(&output)
    );
    assert!(
        fixture.names("one").is_empty()
            && fixture.names("two").is_empty()
            && elsewhere.path().join("kept").exists()
    );

    fails_with(&wipe(&[&fixture.path("absent")]), "absent");
    symlink(elsewhere.path(), fixture.path("link")).expect("a link");
    fails_with(&wipe(&[&fixture.path("link")]), "links are not followed");
    assert!(elsewhere.path().join("kept").exists());
}

#[test]
fn invalid_arguments_print_the_usage() {
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
        assert!(stderr(&output).contains("usage:"), "{arguments:?}");
    }
}
