//! Fails when a preset lacks its golden file, its gradient test, its documentation or its twin.

use crate::gradients::preset_entries;
use softmargin::presets::{self, Preset};
use std::path::Path;

/// What a preset lacks.
fn lacks(preset: &Preset) -> Vec<String> {
    let mut lacks = Vec::new();
    if !crate::golden::path(preset.name).exists() {
        lacks.push(format!("golden/{}.json", preset.name));
    }
    if !preset_entries().iter().any(|(name, _)| *name == preset.name) {
        lacks.push("an entry in the gradient tests (preset_entries in gradients.rs)".into());
    }
    if softmargin_oracle::preset(preset.name).is_none() {
        lacks.push("a twin in softmargin-oracle".into());
    }
    for (field, text) in [
        ("summary", preset.summary),
        ("equation", preset.equation),
        ("gradient", preset.gradient),
        ("paper", preset.paper),
    ] {
        if text.trim().is_empty() {
            lacks.push(format!("a text for its {field}"));
        }
    }
    lacks.extend(lacks_of_file(preset));
    lacks
}

/// What the documentation that opens the preset's own file lacks.
fn lacks_of_file(preset: &Preset) -> Vec<String> {
    let file = format!("src/presets/{}.rs", preset.name.replace('-', "_"));
    let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)) else {
        return vec![file];
    };
    let opening: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let has = |needed: &dyn Fn(&str) -> bool| opening.iter().any(|line| needed(line));
    let equation = opening.iter().skip_while(|line| !line.contains("```text")).any(|line| line.contains("L = "));
    let gradient = opening.iter().any(|line| line.contains("dL/d"));
    let mut lacks = Vec::new();
    if !equation {
        lacks.push(format!("the equation, L = ..., in the opening of {file}"));
    }
    if !gradient {
        lacks.push(format!("the gradient, dL/d..., in the opening of {file}"));
    }
    if !has(&|line| year(line).is_some()) || year(preset.paper).is_none() {
        lacks.push(format!("a publication with its year, in the opening of {file} and in `paper`"));
    }
    lacks
}

/// A year in which a paper of this field can have appeared.
fn year(text: &str) -> Option<u32> {
    let words = text.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() == 4);
    words.filter_map(|word| word.parse().ok()).find(|year| (1900..2100).contains(year))
}

#[test]
fn every_preset_has_all_that_belongs_to_it() {
    let all: Vec<String> = presets::all()
        .iter()
        .flat_map(|preset| lacks(preset).into_iter().map(|lack| format!("{} lacks {lack}", preset.name)))
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_preset_that_lacks_things_is_found() {
    let mut impostor = *presets::find("arcface").unwrap();
    (impostor.name, impostor.paper, impostor.equation) = ("impostor", "somewhere", " ");
    let found = lacks(&impostor).join("; ");
    for part in ["golden/impostor.json", "gradient tests", "twin", "equation", "src/presets/impostor.rs"] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn names_are_unique_and_files_belong_to_presets() {
    let mut names: Vec<&str> = presets::all().iter().flat_map(Preset::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/presets");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".rs").replace('_', "-");
        let known = presets::all().iter().any(|preset| preset.name == stem);
        assert!(known || ["mod", "preset"].contains(&stem.as_str()), "src/presets/{name} is no preset's file");
    }
    for name in softmargin_oracle::PRESET_NAMES {
        assert!(presets::find(name).is_ok(), "the twin knows {name}");
    }
}
