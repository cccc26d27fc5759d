//! `softmargin losses`.

use crate::helpers::{rejected, softmargin, text};
use tempfile::TempDir;

#[test]
fn the_losses_are_shown() {
    let home = TempDir::new().unwrap();
    let table = text(&softmargin(&["losses"], home.path()).stdout);
    for preset in softmargin::presets::all() {
        assert!(table.lines().any(|line| line.starts_with(preset.name)), "{} has no line", preset.name);
        let page = text(&softmargin(&["losses", preset.name], home.path()).stdout);
        assert!(page.contains(preset.equation) && page.contains(preset.gradient) && page.contains(preset.paper));
        assert!(page.contains("--scale"), "{page}");
    }
    let family: serde_json::Value =
        serde_json::from_slice(&softmargin(&["losses", "--json"], home.path()).stdout).unwrap();
    assert_eq!(family["losses"].as_array().unwrap().len(), softmargin::presets::all().len());
    let message = rejected(&["losses", "cosfase"], home.path(), 2);
    assert!(message.contains("cosface"), "{message}");
}
