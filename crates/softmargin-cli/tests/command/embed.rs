//! `softmargin embed`.

use crate::helpers::{digits_run, json, names, picture_of_one, rejected, softmargin, text};
use std::fs;
use tempfile::TempDir;

#[test]
fn a_folder_of_embeddings_trains_again_and_predicts_the_same() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let result = json(&softmargin(&["embed", "run", "digits", "--out", "embedded", "--json"], home.path()));
    assert_eq!((&result["samples"], &result["size"]), (&1797.into(), &128.into()));
    let arguments = ["train", "--data", "embedded", "--epochs", "3", "--out", "again", "--json", "--quiet"];
    let trained = json(&softmargin(&arguments, home.path()));
    assert_eq!(trained["test_images"], 599, "the parts stay what they were");
    assert!(trained["test_accuracy"].as_f64().unwrap() > 0.85, "{trained}");
    let evaluated = json(&softmargin(&["evaluate", "again", "--json"], home.path()));
    assert_eq!(evaluated["accuracy"], trained["test_accuracy"]);
    let arguments = ["predict", "again", "embedded/test-embeddings.npy", "--json"];
    let predicted = json(&softmargin(&arguments, home.path()));
    assert_eq!(predicted["predictions"].as_array().unwrap().len(), 599);
    // A model of embeddings has no use for pictures, and one of pictures none for embeddings.
    picture_of_one(&home.path().join("one.png"));
    rejected(&["predict", "again", "one.png"], home.path(), 2);
    rejected(&["evaluate", "again", "--data", "digits"], home.path(), 2);
    rejected(&["evaluate", "run", "--data", "embedded"], home.path(), 2);
}

#[test]
fn pictures_without_classes_become_an_array_with_names() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let inbox = home.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    picture_of_one(&inbox.join("a.png"));
    picture_of_one(&inbox.join("b.png"));
    let output = softmargin(&["embed", "run", "inbox", "--out", "x.npy"], home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(names(home.path()), ["inbox", "run", "x.names.json", "x.npy"]);
    assert_eq!(fs::read_to_string(home.path().join("x.names.json")).unwrap(), r#"["inbox/a.png","inbox/b.png"]"#);
    let array = fs::read(home.path().join("x.npy")).unwrap();
    assert!(array.starts_with(b"\x93NUMPY") && array.len() > 2 * 128 * 4);
    let (first, second) = array[array.len() - 1024..].split_at(512);
    assert_eq!(first, second, "the same picture has the same embedding");
    let message = rejected(&["embed", "run", "inbox", "--out", "x.npy"], home.path(), 2);
    assert!(message.contains("x.npy"), "{message}");
    let message = rejected(&["embed", "run", "inbox", "--out", "folder"], home.path(), 2);
    assert!(message.contains("--out") && message.contains("classes"), "{message}");
    for out in ["m.parquet", "m.csv"] {
        let message = rejected(&["embed", "run", "inbox", "--out", out], home.path(), 2);
        assert!(message.contains(out) && message.contains(".npy or .safetensors"), "{message}");
    }
    let message = rejected(&["embed", "run", "inbox", "--out", "y.npy", "--part", "test"], home.path(), 2);
    assert!(message.contains("--part"), "{message}");
}

#[test]
fn a_part_becomes_tensors_with_labels() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let arguments = ["embed", "run", "digits", "--part", "test", "--out", "x.safetensors", "--json"];
    let result = json(&softmargin(&arguments, home.path()));
    assert_eq!(result["samples"], 599);
    let file = fs::read(home.path().join("x.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    assert_eq!(header["embeddings"]["shape"], serde_json::json!([599, 128]));
    assert_eq!(header["labels"]["shape"], serde_json::json!([599]));
    let rows: serde_json::Value = serde_json::from_str(header["__metadata__"]["rows"].as_str().unwrap()).unwrap();
    assert_eq!((rows["names"].as_array().unwrap().len(), rows["classes"].as_array().unwrap().len()), (599, 10));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_nothing_half_written_is_left() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let full = std::path::Path::new("/dev/full");
    let device = fs::OpenOptions::new().write(true).open(full).unwrap();
    let mut command = crate::helpers::command(&["evaluate", "run"], home.path());
    let output = command.stdout(device).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("standard output"), "{said}");
}
