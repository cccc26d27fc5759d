//! Reads a file for `--config`, and checks that every key is known.

use super::keys;
use super::renamed::old_name;
use super::request::ConfigRequest;
use super::resolved::FORMAT;
use softmargin_data::error::Error;
use std::fs;
use std::path::Path;
use toml::Table;

const ADVICE: &str = "docs/configuration.md lists every key";

impl ConfigRequest {
    /// Reads a file with any part of a configuration.
    ///
    /// # Errors
    /// With exit code 2: the file is missing or is not TOML (the message names the line), a key is unknown (the message
    /// suggests the most similar one) or has an old name (the message names the new one), a value is of the wrong kind,
    /// or the format is another one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let expected = "a configuration in TOML";
        if path.is_dir() {
            let advice = format!("for a run directory, give {}", path.join("config.toml").display());
            return Err(Error::request(path.display(), expected, "a folder", advice));
        }
        let bytes = fs::read(path).map_err(|cause| Error::io(path, expected, cause))?;
        let text = String::from_utf8(bytes).map_err(|cause| {
            Error::request(path.display(), expected, "bytes that are not UTF-8", ADVICE).with_source(cause)
        })?;
        let fault = |cause: toml::de::Error| {
            let found = format!("{}{}", line(&text, &cause), cause.message().replace('\n', "; "));
            Error::request(path.display(), expected, found, ADVICE)
        };
        let table: Table = toml::from_str(&text).map_err(fault)?;
        if let Some(old) = old_name(&table) {
            return Err(Error::request(path.display(), "current names", old.found, format!("use {}", old.new)));
        }
        if let Some(unknown) = keys::unknown(&table) {
            let advice = unknown.nearest.map_or_else(|| ADVICE.into(), |key| format!("did you mean {key}? {ADVICE}"));
            return Err(Error::request(path.display(), "keys of a configuration", unknown.key, advice));
        }
        let request: Self = toml::from_str(&text).map_err(fault)?;
        match request.format {
            Some(format) if format != FORMAT => {
                let advice = "remove the format, and keep the keys that you need";
                Err(Error::request(path.display(), format!("format {FORMAT}"), format!("format {format}"), advice))
            }
            _ => Ok(request),
        }
    }
}

/// Returns the prefix `line 3: `, if the line of the fault is known.
fn line(text: &str, cause: &toml::de::Error) -> String {
    let before = cause.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the message about a file with this content.
    #[track_caller]
    fn rejected(text: &[u8]) -> String {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("asked.toml");
        fs::write(&path, text).unwrap();
        let error = ConfigRequest::read(&path).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let message = error.to_string();
        assert!(message.contains("asked.toml") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn an_unknown_key_is_rejected_with_a_suggestion() {
        for (text, nearest) in [
            ("[training]\nepoch = 3", "training.epochs"),
            ("epochs = 3", "training.epochs"),
            ("[training]\nlearning_rate = 0.1", "training.learning-rate"),
            ("[training.augmentation]\nrotatoin = 3", "training.augmentation.rotation"),
            ("[los]\nname = 'arcface'", "loss"),
            ("[data]\nvalidation-splitt = 'none'", "data.validation-split"),
        ] {
            let message = rejected(text.as_bytes());
            assert!(message.contains(&format!("did you mean {nearest}?")), "{text}: {message}");
        }
        let message = rejected(b"[loss.spec]\nmargin = 3\ngeometri = 'cosine'");
        assert!(message.contains("did you mean loss.spec.geometry?"), "{message}");
        let message = rejected(b"[training]\nzzz = 1");
        assert!(message.contains("training.zzz") && !message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_fault_in_a_line_is_rejected_with_its_number() {
        for (text, line) in [
            ("[training]\nepochs 3", "line 2"),
            ("{\"training\": {}}", "line 1"),
            ("[training]\n\nepochs = 'many'", "line 3"),
            ("[training]\nepochs = -1", "line 2"),
            ("[training]\nschedule = 'sine'", "line 2"),
            ("training = 3", "line 1"),
            ("[data]\ntest-split = 'some'", "line 2"),
        ] {
            let message = rejected(text.as_bytes());
            assert!(message.contains(line), "{text}: {message}");
        }
        assert!(rejected(&[0xff, 0xfe, 0]).contains("UTF-8"));
        assert!(rejected(b"format = 2").contains("expected format 3, found format 2"));
    }

    #[test]
    fn an_old_name_is_rejected_with_the_new_one() {
        for (text, found, new) in [
            ("[training.optimiser]\nkind = 'sgd'", "training.optimiser", "training.optimizer"),
            ("[normalisation]\nmean = 0.0", "normalisation", "normalization"),
            ("[normalization]\ndeviation = 1.0", "normalization.deviation", "normalization.std"),
            ("[loss.spec.rivals]\nkind = 'plain'", "loss.spec.rivals", "loss.spec.negatives"),
            ("[loss.spec]\nsub-centres = 2", "loss.spec.sub-centres", "loss.spec.sub-centers"),
            ("[loss.spec.regulariser]\nkind = 'ring'", "loss.spec.regulariser", "loss.spec.regularizer"),
            ("[loss.spec.margin]\namount = { one = 0.3 }", "loss.spec.margin.amount", "loss.spec.margin.value"),
            (
                "[loss.spec.margin.plus.from-norm]\nkind = 'standardised'",
                "loss.spec.margin.plus.from-norm.kind = \"standardised\"",
                "\"standardized\"",
            ),
            ("[[network.convolutions]]\ndeviation = 1", "network.convolutions.deviation", "network.convolutions.std"),
            // The configuration of a run of format 2: the names come before the format.
            ("format = 2\n[normalisation]\nmean = 0.0", "normalisation", "normalization"),
        ] {
            let message = rejected(text.as_bytes());
            let expected = format!("expected current names, found {found}; use {new}");
            assert!(message.ends_with(&expected), "{text}: {message}");
        }
    }

    #[test]
    fn an_empty_file_leaves_everything_open_and_a_missing_one_is_rejected() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("asked.toml");
        assert_eq!(ConfigRequest::read(&path).unwrap_err().exit_code(), 2);
        fs::write(&path, "").unwrap();
        assert_eq!(ConfigRequest::read(&path).unwrap(), ConfigRequest::default());
    }
}
