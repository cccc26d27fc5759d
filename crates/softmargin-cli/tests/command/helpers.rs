//! The command, run; and pictures to run it on.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

pub(crate) fn softmargin(arguments: &[&str], directory: &Path) -> Output {
    command(arguments, directory).output().unwrap()
}

pub(crate) fn command(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softmargin"));
    command.args(arguments).current_dir(directory);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a request that must be rejected, and returns the message.
#[track_caller]
pub(crate) fn rejected(arguments: &[&str], directory: &Path, code: i32) -> String {
    let before = names(directory);
    let output = softmargin(arguments, directory);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(names(directory), before, "{arguments:?} left something");
    message
}

/// Two classes of simple pictures, `count` of each, in folders of their names.
pub(crate) fn image_folder(directory: &Path, count: u8) -> PathBuf {
    let root = directory.join("pictures");
    for (class, horizontal) in [("lines", true), ("columns", false)] {
        let folder = root.join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let picture = image::GrayImage::from_fn(16, 16, |x, y| {
                let along = if horizontal { y } else { x };
                image::Luma([if (along + u32::from(number)) % 4 < 2 { 230 - number } else { 20 + number }])
            });
            picture.save(folder.join(format!("{number:02}.png"))).unwrap();
        }
    }
    root
}

/// A run of a few epochs on the digits, in `home/run`; trained once for all tests.
pub(crate) fn digits_run(home: &Path) -> PathBuf {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let trained = RUN.get_or_init(|| {
        let place = TempDir::new().unwrap();
        let output = softmargin(&["train", "--epochs", "5", "--out", "run", "--quiet"], place.path());
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
        place
    });
    let run = home.join("run");
    copy(&trained.path().join("run"), &run);
    run
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns the object that `--json` printed.
#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A `.npy` file as NumPy writes it.
pub(crate) fn npy(kind: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), content].concat()
}

/// A picture of a one on 8 x 8 pixels, light on dark as the digits are.
pub(crate) fn picture_of_one(path: &Path) {
    image::GrayImage::from_fn(8, 8, |x, _| image::Luma([if (3..5).contains(&x) { 240 } else { 0 }]))
        .save(path)
        .unwrap();
}
