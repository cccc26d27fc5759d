//! Every key of a configuration with its meaning: one table for the comments of `config.toml`, for
//! docs/configuration.md and for the suggestions for unknown keys.

use softmargin::request::DEFAULT_LOSS;
use softmargin_data::error::Error;
use std::fmt;
use std::fmt::Write;
use toml::{Table, Value};

/// A key of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, such as `training.epochs`.
    pub path: &'static str,
    /// The flag of `softmargin train` that sets it; empty if there is none.
    pub flag: &'static str,
    /// The default.
    pub default: &'static str,
    /// The meaning.
    pub meaning: &'static str,
}

const fn key(path: &'static str, flag: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, flag, default, meaning }
}

/// All keys, in the order of their sections.
pub const KEYS: &[Key] = &[
    key("format", "", "3", "version of this layout; other versions are rejected"),
    key(
        "data.source",
        "--data",
        "digits",
        "'digits', or a folder of images, IDX files or embeddings; a relative path starts at the working directory",
    ),
    key("data.image-size", "--image-size", "by the data", "side to which images are resized, in pixels, 8 to 512"),
    key(
        "data.test-split",
        "--test-split",
        "every:5",
        "the test set: samples of each class, in name order, 'every:N' or 'last:N'; for data without a test set of their own",
    ),
    key(
        "data.validation-split",
        "--validation-split",
        "every:10",
        "the validation set: training samples of each class, in the same form; the epoch with the highest accuracy on it is saved, the latest on ties; with 'none' the last epoch is saved",
    ),
    key(
        "data.memory",
        "",
        "a quarter of the machine's",
        "bytes that decoded samples may occupy; larger data are read again from their files",
    ),
    key("data.classes", "", "by the data", "number of classes; data with another number are rejected"),
    key(
        "input.kind",
        "",
        "by the data",
        "'images' or 'embeddings'; data that disagree are rejected, here and in all of [input]",
    ),
    key("input.channels", "", "by the data", "1: gray, 3: color"),
    key("input.height", "", "by the data", "rows of an image"),
    key("input.width", "", "by the data", "columns of an image"),
    key(
        "input.ink",
        "",
        "by the data",
        "'light-on-dark', 'dark-on-light': image files with the other direction are inverted; 'as-is': none are",
    ),
    key("input.size", "", "by the data", "dimension of the embeddings in the data"),
    key("normalization.mean", "", "by the training set", "subtracted from every value of a sample"),
    key("normalization.std", "", "by the training set", "divides the values of a sample afterwards, above 0"),
    key("loss.name", "--loss", DEFAULT_LOSS, "a preset; 'softmargin losses' lists them"),
    key(
        "loss.scale",
        "--scale",
        "the preset's",
        "factor of the scores; the initial value of a learned scale; wins over loss.spec",
    ),
    key(
        "loss.margin",
        "--margin",
        "the preset's",
        "values of the margin, a list, in radians if it is an angle; wins over loss.spec",
    ),
    key(
        "loss.spec",
        "",
        "the preset's",
        "parts of the loss that replace the preset's; 'softmargin losses NAME --json' shows all",
    ),
    key("loss.spec.geometry", "", "the preset's", "how scores are computed from embeddings and prototypes"),
    key("loss.spec.scale", "", "the preset's", "the factor of the scores: fixed, or learned within bounds"),
    key("loss.spec.margin", "", "the preset's", "the change of the target's score"),
    key("loss.spec.negatives", "", "the preset's", "the change of the scores of the negatives"),
    key("loss.spec.comparison", "", "the preset's", "how the target is compared with the negatives"),
    key("loss.spec.sub-centers", "", "the preset's", "prototypes per class; the best of them counts"),
    key("loss.spec.regularizer", "", "the preset's", "a term on the norms of the embeddings"),
    key("loss.spec.class-weights", "", "none", "loss weighting: one weight per class, 0 or above"),
    key("loss.spec.ignored-label", "", "none", "not for training here: remove such samples from the data"),
    key(
        "network.kind",
        "",
        "by the data",
        "'convolutional' for images; 'projection': a linear map and batch normalization; 'none': the values are the embedding",
    ),
    key("network.image", "", "by the data", "channels, height and width, as in the data; for 'convolutional'"),
    key("network.inputs", "", "by the data", "values of a sample, as in the data; for 'projection' and 'none'"),
    key(
        "network.embedding",
        "--embedding-size",
        "128",
        "embedding dimension; if it is given for data of embeddings, they are projected",
    ),
    key("network.convolutions", "", "by the size of the images", "the convolutions, first to last"),
    key("network.convolutions.channels", "", "", "output channels"),
    key("network.convolutions.stride", "", "", "2 halves the image, 1 keeps its size"),
    key("network.convolutions.pool", "", "", "whether a 2 x 2 maximum follows"),
    key("network.convolutions.skip", "", "", "whether the input is added to the output"),
    key("training.epochs", "--epochs", "2100 / sqrt(samples), 10 to 100", "passes over the training set"),
    key(
        "training.batch-size",
        "--batch-size",
        "a tenth of the samples, 8 to 64",
        "the most samples in a step, 2 or more; batches are of even size, none is dropped",
    ),
    key("training.learning-rate", "--lr", "0.1; 0.002 with adamw", "the highest learning rate of the schedule"),
    key(
        "training.schedule",
        "--schedule",
        "cosine",
        "'cosine': linear warm-up, then half a cosine down to 0; 'one-cycle': half a cosine up from 1/25, then down to 0; 'constant': linear warm-up, then constant",
    ),
    key("training.warm-up", "--warm-up", "0.2", "share of the steps during which the rate rises, from 0 to below 1"),
    key(
        "training.weight-decay",
        "--weight-decay",
        "0.0005; 0.05 with adamw",
        "weight decay of matrices and kernels; biases, scales and shifts have none",
    ),
    key(
        "training.gradient-limit",
        "--gradient-limit",
        "none",
        "largest norm of the gradient of all parameters together; longer gradients are clipped to it",
    ),
    key(
        "training.patience",
        "--patience",
        "none",
        "epochs without a higher accuracy or a lower loss on the validation set after which training stops",
    ),
    key("training.seed", "--seed", "0", "seed of every random choice"),
    key("training.device", "--device", "cpu", "where to compute: 'cpu', 'cuda' or 'wgpu'"),
    key("training.optimizer.kind", "--optimizer", "sgd", "'sgd' with Nesterov momentum, or 'adamw'"),
    key("training.optimizer.momentum", "", "0.9", "sgd: weight of the previous direction"),
    key("training.optimizer.beta-1", "", "0.9", "adamw: decay of the running mean of the gradient"),
    key("training.optimizer.beta-2", "", "0.999", "adamw: decay of the running mean of the squared gradient"),
    key("training.optimizer.epsilon", "", "1e-8", "adamw: added to the root of the mean squared gradient"),
    key("training.augmentation.unchanged", "", "0.5", "share of the training images that are not changed"),
    key("training.augmentation.rotation", "", "by the epochs, up to 10", "largest rotation either way, in degrees"),
    key(
        "training.augmentation.scale",
        "",
        "by the epochs, up to 0.1",
        "largest relative change of size, height and width independently",
    ),
    key(
        "training.augmentation.shift",
        "",
        "by the epochs, up to 0.1",
        "largest shift either way, as a share of the side",
    ),
    key("training.augmentation.shear", "", "by the epochs, up to 0.1", "largest shear either way, as a slope"),
    key("training.augmentation.contrast", "", "by the epochs, up to 0.1", "largest relative change of contrast"),
    key(
        "training.augmentation.cut-out",
        "",
        "0",
        "largest side of the erased square, as a share of the image's shorter side",
    ),
];

/// Keys below this one are checked when the loss is read, not by the table.
const OPEN: &str = "loss.spec.";

/// Returns the name of a key in messages: the flag that sets it, or the key if there is none.
pub(super) fn name(path: &str) -> String {
    let known = KEYS.iter().find(|key| key.path == path);
    known.filter(|key| !key.flag.is_empty()).map_or_else(|| path.to_owned(), |key| key.flag.to_owned())
}

/// Returns an error about the value of a key.
pub(super) fn rejected(path: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Error {
    Error::request(name(path), expected, found, advice(path))
}

fn advice(path: &str) -> String {
    let default = KEYS.iter().find(|key| key.path == path).map(|key| key.default).filter(|default| !default.is_empty());
    default.map_or_else(|| "see docs/configuration.md".into(), |default| format!("the default is {default}"))
}

/// Returns the meaning of a key.
pub(super) fn meaning(path: &str) -> Option<&'static str> {
    KEYS.iter().find(|key| key.path == path).map(|key| key.meaning)
}

/// An unknown key, and the most similar known one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) key: String,
    pub(super) nearest: Option<&'static str>,
}

/// Returns the first unknown key of a table.
pub(super) fn unknown(table: &Table) -> Option<Unknown> {
    unknown_below("", table)
}

fn unknown_below(section: &str, table: &Table) -> Option<Unknown> {
    table.iter().find_map(|(name, value)| {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        if !is_known(&path) {
            return Some(Unknown { nearest: nearest(&path), key: path });
        }
        let is_open = path.starts_with(OPEN);
        match value {
            Value::Table(below) if !is_open => unknown_below(&path, below),
            Value::Array(rows) if !is_open => {
                rows.iter().filter_map(Value::as_table).find_map(|row| unknown_below(&path, row))
            }
            _ => None,
        }
    })
}

/// Returns whether a path is a key or a section of keys.
fn is_known(path: &str) -> bool {
    paths().any(|known| known == path)
}

/// Returns all keys and their sections.
fn paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| {
        let ends = key.path.match_indices('.').map(|(at, _)| at).chain(std::iter::once(key.path.len()));
        ends.map(|end| &key.path[..end])
    })
}

/// Returns the known key whose last word is most similar to that of an unknown one, if any is similar enough.
fn nearest(path: &str) -> Option<&'static str> {
    const SIMILAR: f64 = 0.85;
    let wanted = path.to_lowercase().replace(['_', ' '], "-");
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let same_section = |known: &str| {
        known.rsplit_once('.').map(|(section, _)| section) == wanted.rsplit_once('.').map(|(section, _)| section)
    };
    let similarity = |known: &str| {
        let words = strsim::jaro_winkler(&last(&wanted), &last(known));
        // On ties the key of the same section wins.
        words + if same_section(known) { 0.05 } else { 0.0 }
    };
    let scored = paths().map(|known| (similarity(known), known));
    let best = scored.fold(
        None,
        |best: Option<(f64, &str)>, one| if best.is_some_and(|best| best.0 >= one.0) { best } else { Some(one) },
    );
    best.filter(|(similarity, _)| *similarity >= SIMILAR).map(|(_, known)| known)
}

const HEAD: &str = "# Configuration

`softmargin train --config FILE` takes a TOML file with any part of the keys below. Every run directory has a
`config.toml` with the complete configuration: `softmargin train --config run-1/config.toml` makes a bitwise identical
model from the same data on the same kind of processor (a run that was interrupted is trained to its end).

Flags win over the file. A flag that names another loss, optimizer or data set drops the settings of the file that belong
to the old one: `--data` the sections `[data]`, `[input]`, `[normalization]` and `[network]`, and class counts;
`--image-size` the sections `[input]` and `[normalization]`, and `image`, `inputs` and `convolutions` of `[network]`;
`--loss` the section `[loss]`; `--optimizer` the section `[training.optimizer]`, learning rate and weight decay.

A key that is not listed here is an error, and so is a key without an effect: `network.convolutions` of a network without
convolutions, `training.augmentation` of embeddings.

```toml
[data]
source = \"photos\"
validation-split = \"last:3\"

[loss]
name = \"arcface\"
scale = 32
margin = [0.3]

[training]
epochs = 30
patience = 8
optimizer = { kind = \"adamw\" }
augmentation = { rotation = 0, cut-out = 0.25 }
```
";

/// Returns the content of docs/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in KEYS {
        let (own, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != Some(own) {
            section = Some(own);
            let title = if own.is_empty() { "Top level".into() } else { format!("`[{own}]`") };
            let _ = write!(page, "\n## {title}\n\n| key | flag | default | meaning |\n|---|---|---|---|\n");
        }
        let flag = if key.flag.is_empty() { String::new() } else { format!("`{}`", key.flag) };
        let _ = writeln!(page, "| `{name}` | {flag} | {} | {} |", key.default, key.meaning);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == reference(), "docs/configuration.md is not what UPDATE_DOCS=1 would write");
    }

    #[test]
    fn every_key_is_there_once_and_has_a_meaning() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!key.meaning.is_empty() && !key.meaning.contains(['\n', '|']), "{}", key.path);
            assert!(KEYS[..at].iter().all(|other| other.path != key.path), "{}", key.path);
        }
    }

    #[test]
    fn messages_name_the_flag_where_there_is_one() {
        assert_eq!(name("training.learning-rate"), "--lr");
        assert_eq!(name("training.optimizer.momentum"), "training.optimizer.momentum");
    }
}
