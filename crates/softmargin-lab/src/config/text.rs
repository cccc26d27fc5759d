//! `config.toml`: a configuration as text, with the meaning of each key above it.

use super::keys;
use super::resolved::Config;

impl Config {
    /// Returns the configuration as TOML, with `remarks` as comments at the top.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub(crate) fn to_text(&self, remarks: &[String]) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(self)?;
        let mut commented: String = remarks.iter().map(|remark| format!("# {remark}\n")).collect();
        let mut section = String::new();
        let mut explained = Vec::new();
        // Every value is on one line.
        for line in text.lines() {
            let path = match (line.strip_prefix('['), line.split_once(" = ")) {
                (Some(name), _) => {
                    section = name.trim_matches(['[', ']']).to_owned();
                    section.clone()
                }
                (None, Some((key, _))) => [section.as_str(), key].join(".").trim_start_matches('.').to_owned(),
                (None, None) => String::new(),
            };
            if let Some(meaning) = keys::meaning(&path).filter(|_| !explained.contains(&path)) {
                commented.push_str(&format!("# {meaning}\n"));
                explained.push(path);
            }
            commented.push_str(line);
            commented.push('\n');
        }
        Ok(commented)
    }
}
