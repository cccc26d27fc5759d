//! Output that a person reads: names from outside cannot control a terminal, and tables stay aligned.

use crate::helpers::{command, image_folder, softmargin, text};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Names of classes with a line break, an escape sequence, wide characters and combining marks.
const NAMES: [&str; 4] =
    ["two\nlines", "\u{1b}[31mred", "\u{732b}\u{732b}", "\u{c24}\u{c46}\u{c32}\u{c41}\u{c17}\u{c41}"];

/// Makes a folder of images with these classes.
fn named_classes(home: &Path) -> String {
    let pictures = image_folder(home, 12);
    for (number, name) in NAMES.iter().enumerate() {
        let from = pictures.join(if number % 2 == 0 { "lines" } else { "columns" });
        let to = pictures.join(name);
        fs::create_dir(&to).unwrap();
        for (at, file) in fs::read_dir(from).unwrap().enumerate() {
            let image = image::open(file.unwrap().path()).unwrap().rotate180();
            image.brighten(10 * number as i32).save(to.join(format!("{at}-{number}.png"))).unwrap();
        }
    }
    pictures.to_str().unwrap().to_owned()
}

/// Fails if a text has a character that controls a terminal, apart from line breaks.
#[track_caller]
fn harmless(bytes: &[u8]) -> String {
    let text = text(bytes);
    let control = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(control), "{}", text.escape_debug());
    text
}

#[test]
fn names_with_control_characters_are_escaped_everywhere() {
    let home = TempDir::new().unwrap();
    let data = named_classes(home.path());
    let trained = softmargin(&["train", "--data", &data, "--epochs", "2", "--out", "run"], home.path());
    harmless(&trained.stderr);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    harmless(&trained.stdout);
    assert!(!fs::read_to_string(home.path().join("run/report.html")).unwrap().contains('\u{1b}'));

    let evaluated = softmargin(&["evaluate", "run", "--data", &data], home.path());
    let table = harmless(&evaluated.stdout);
    assert!(table.contains(r"two\nlines") && table.contains(r"\u{1b}[31mred"), "{table}");

    let picture = fs::read_dir(Path::new(&data).join(NAMES[0])).unwrap().next().unwrap().unwrap().path();
    let predicted = softmargin(&["predict", "run", picture.to_str().unwrap()], home.path());
    assert_eq!(harmless(&predicted.stdout).lines().count(), 1, "a prediction has one line");

    let missing = softmargin(&["predict", "run", "no\u{1b}[2J\nfile.png"], home.path());
    assert!(!missing.status.success());
    assert!(harmless(&missing.stderr).contains(r"no\u{1b}[2J\nfile.png"));
}

#[test]
fn a_table_is_aligned_by_display_width() {
    let home = TempDir::new().unwrap();
    let data = named_classes(home.path());
    let trained = softmargin(&["train", "--data", &data, "--epochs", "1", "--out", "run", "--quiet"], home.path());
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let table = harmless(&softmargin(&["evaluate", "run", "--data", &data], home.path()).stdout);
    let start = table.find("class ").unwrap();
    let rows: Vec<&str> = table[start..].lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(rows.len(), 7, "a line for each class:\n{table}");
    let wide = |character: char| usize::from(('\u{4e00}'..='\u{9fff}').contains(&character));
    let columns = |row: &&str| row.chars().map(|character| 1 + wide(character)).sum::<usize>();
    let plain: Vec<usize> = rows.iter().filter(|row| !row.contains('\u{c24}')).map(columns).collect();
    assert!(plain.windows(2).all(|pair| pair[0] == pair[1]), "{plain:?}\n{table}");
}

#[test]
fn a_pipe_gets_whole_lines() {
    let home = TempDir::new().unwrap();
    let long = "n".repeat(150);
    let output = command(&["evaluate", &long], home.path()).env("COLUMNS", "40").output().unwrap();
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
}

#[test]
fn the_remaining_time_is_printed_once_it_can_be_estimated() {
    let home = TempDir::new().unwrap();
    // Long enough for an estimate on any machine.
    let output = softmargin(&["train", "--epochs", "30", "--out", "run"], home.path());
    assert!(output.status.success());
    let progress = text(&output.stderr);
    assert!(progress.contains("samples/s") && progress.contains(" left\n"), "{progress}");
}
