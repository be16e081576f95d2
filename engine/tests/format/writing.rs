//! Writing files: whole or not at all, and what becomes of what was there.

use std::fs;
use std::path::Path;

use horq::error::FileError;
use horq::{Error, Model, replace_file};

use crate::zoo::small;

#[test]
fn writing_replaces_a_file_whole_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    std::fs::write(&path, "what was there before").unwrap();
    small().write("logits", &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), small().to_bytes("logits").unwrap());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    // A model that breaks a rule replaces nothing.
    assert!(small().write("nothing", &path).is_err());
    Model::open(&path).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// A folder with nothing in it but what `names` lists.
fn assert_holds(folder: &Path, names: &[&str]) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = entries.collect();
    found.sort();
    assert_eq!(found, names);
}

fn refused(path: &Path, reason: &str) {
    let error = small().write("logits", path).unwrap_err();
    assert!(matches!(error, Error::File(FileError::NotReplaceable { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains(reason), "{text}");
}

#[cfg(unix)]
#[test]
fn a_new_file_is_as_readable_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    let (plain, model) = (folder.path().join("plain"), folder.path().join("model.horq"));
    std::fs::write(&plain, "x").unwrap();
    small().write("logits", &model).unwrap();
    assert_eq!(mode(&plain), mode(&model));
}

/// Neither is a device replaced by a file, nor anything else that is none.
#[cfg(unix)]
#[test]
fn devices_and_folders_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for device in ["/dev/null", "/dev/full", "/dev/zero"] {
        refused(Path::new(device), "name a file");
        assert!(fs::metadata(device).unwrap().file_type().is_char_device(), "{device}");
    }
    symlink("/dev/null", path("null")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    fs::create_dir(path("folder")).unwrap();
    symlink("folder", path("to folder")).unwrap();
    for name in ["null", "socket", "fifo"] {
        refused(&path(name), "device, FIFO or socket");
    }
    for name in ["folder", "to folder", "folder/..", ""] {
        refused(&path(name), "it is a folder; name a file in it");
    }
    assert!(fs::metadata(path("fifo")).unwrap().file_type().is_fifo());
    assert_holds(folder.path(), &["fifo", "folder", "null", "socket", "to folder"]);
}

#[cfg(unix)]
#[test]
fn a_link_stays_and_its_file_is_replaced() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir(path(name)).unwrap();
    }
    // Through two links, the first of which is relative to another folder than the link that names it.
    fs::write(path("b/model.horq"), "old").unwrap();
    symlink("../b/latest", path("a/current")).unwrap();
    symlink("model.horq", path("b/latest")).unwrap();
    small().write("logits", path("a/current")).unwrap();
    assert_eq!(fs::read_link(path("a/current")).unwrap(), Path::new("../b/latest"));
    assert_holds(&path("a"), &["current"]);
    assert_holds(&path("b"), &["latest", "model.horq"]);
    assert!(fs::symlink_metadata(path("b/model.horq")).unwrap().is_file());
    Model::open(path("b/model.horq")).unwrap();
    // A link to what is not there yet, as with a shell's `>`.
    symlink(path("b/new.horq"), path("a/next")).unwrap();
    small().write("logits", path("a/next")).unwrap();
    Model::open(path("b/new.horq")).unwrap();
    assert!(fs::symlink_metadata(path("a/next")).unwrap().is_symlink());
    // And one that leads nowhere, or round and round.
    symlink("no/such/folder", path("a/lost")).unwrap();
    symlink("round", path("a/round")).unwrap();
    for name in ["a/lost", "a/round"] {
        let error = small().write("logits", path(name)).unwrap_err();
        assert!(matches!(error, Error::File(FileError::Io { .. })) && error.to_string().contains(name), "{error}");
        assert!(fs::symlink_metadata(path(name)).unwrap().is_symlink());
    }
    assert_holds(&path("a"), &["current", "lost", "next", "round"]);
}

#[cfg(unix)]
#[test]
fn permissions_and_owner_are_kept() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    for mode in [0o600, 0o640, 0o644, 0o666, 0o755] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // Only the superuser gives files away.
        let given = chown(&path, Some(12_345), Some(54_321)).is_ok();
        let before = fs::metadata(&path).unwrap();
        small().write("logits", &path).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.mode() & 0o7777, mode, "{:o}", after.mode());
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()), "given away: {given}");
        Model::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_read_only_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    fs::write(&path, "old").unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).unwrap();
    refused(&path, "it is read-only; make it writable or name another file");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_holds(folder.path(), &["model.horq"]);
    #[expect(clippy::permissions_set_readonly_false, reason = "the folder goes at once")]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
}

#[test]
fn another_hard_link_keeps_the_old_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [path, other] = ["model.horq", "other"].map(|name| folder.path().join(name));
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, &other).unwrap();
    replace_file(&path, b"new").unwrap();
    assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"old".to_vec()));
}

/// Whoever reads while others write sees one of their files, whole.
#[test]
fn two_writers_at_once_leave_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let contents = |byte: u8| vec![byte; 100_000];
    replace_file(&path, &contents(0)).unwrap();
    std::thread::scope(|scope| {
        for byte in 1..=2 {
            let path = &path;
            scope.spawn(move || (0..20).for_each(|_| replace_file(path, &contents(byte)).unwrap()));
        }
        for _ in 0..100 {
            let found = fs::read(&path).unwrap();
            assert_eq!(found, contents(found[0]));
        }
    });
    assert_ne!(fs::read(&path).unwrap()[0], 0);
    assert_holds(folder.path(), &["file"]);
}

/// Not a test of its own: what the process that `a_full_disk_leaves_the_old_file` starts does.
#[cfg(unix)]
#[test]
#[ignore = "run by a_full_disk_leaves_the_old_file with a limit set"]
fn a_file_beyond_the_limit() {
    let path = std::env::var_os("TARGET").expect("set by the caller");
    let error = replace_file(path, &vec![1; 100_000]).unwrap_err();
    assert!(matches!(error, Error::File(FileError::Io { action: "write", .. })), "{error}");
}

/// A limit on the length of files stands in for a disk that fills.
#[cfg(all(unix, target_arch = "x86_64"))] // where the tests run in an emulator, they cannot start themselves
#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", r#"ulimit -f 16; trap "" XFSZ; exec "$0" --ignored --exact writing::a_file_beyond_the_limit"#]);
    let output = shell.arg(std::env::current_exe().unwrap()).env("TARGET", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_holds(folder.path(), &["file"]);
}

/// Not a test of its own: what the process that `a_full_file_system_leaves_the_old_file` starts does.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by a_full_file_system_leaves_the_old_file on a small file system"]
fn files_beyond_the_file_system() {
    let folder = std::path::PathBuf::from(std::env::var_os("TARGET").expect("set by the caller"));
    let old = folder.join("old.horq");
    small().write("logits", &old).unwrap();
    let bytes = fs::read(&old).unwrap();
    let full = |error: Error| {
        let Error::File(FileError::Io { action: "write", source, .. }) = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{error}");
    };
    // Larger than the file system by itself, and one that the others leave no room for.
    full(replace_file(&old, &vec![1; 1 << 20]).unwrap_err());
    full(replace_file(folder.join("new"), &vec![1; 1 << 20]).unwrap_err());
    assert_holds(&folder, &["old.horq"]);
    replace_file(folder.join("most"), &vec![2; 150 << 10]).unwrap();
    full(replace_file(folder.join("most"), &vec![3; 150 << 10]).unwrap_err());
    assert_holds(&folder, &["most", "old.horq"]);
    assert_eq!(fs::read(folder.join("most")).unwrap(), vec![2; 150 << 10]);
    assert_eq!(fs::read(&old).unwrap(), bytes);
    // What fits is written as if nothing had been.
    small().write("logits", &old).unwrap();
    Model::open(&old).unwrap();
}

/// A file system of 256 KiB that really is full. It is mounted in a namespace of its own, which ends with the child; where
/// that is not allowed (it takes root), the test says so and `a_full_disk_leaves_the_old_file` is what is left.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))] // where the tests run in an emulator, they cannot start themselves
#[test]
fn a_full_file_system_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = |then: &str| {
        let script = format!(r#"mount -t tmpfs -o size=256k none "$TARGET" && {then}"#);
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &script]).arg(std::env::current_exe().unwrap()).env("TARGET", folder.path());
        unshare.output()
    };
    if !mounted("true").is_ok_and(|output| output.status.success()) {
        println!("!!! NO FILE SYSTEM CAN BE MOUNTED HERE: this was not tried !!!");
        return;
    }
    let output = mounted(r#"exec "$0" --ignored --exact writing::files_beyond_the_file_system"#).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_holds(folder.path(), &[]);
}
