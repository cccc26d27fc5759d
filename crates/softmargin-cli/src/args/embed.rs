//! Flags of `softmargin embed`.

use super::evaluate::PartName;
use clap::Args;
use softmargin_lab::DataSource;
use std::path::PathBuf;

const EMBED_EXAMPLES: &str = "Examples:
  softmargin embed digits-run digits --out digits-embeddings/
  softmargin embed photos-run inbox/ --out inbox.npy
  softmargin embed photos-run photos/ --part test --out photos.safetensors

A path ending in .npy becomes an array (N, D) in single precision; beside it are the names of its rows, in a file \
ending in .names.json, and their classes if they are known, in .labels.npy. A path ending in .safetensors becomes a file \
with the tensor 'embeddings', the tensor 'labels' if the classes are known, and the metadata 'rows': names and classes as \
JSON. Any other path becomes a folder; one that ends as a file of another format does (.csv) needs a / at its end. \
The folder has embeddings.npy, labels.npy (names of classes) and names.json, one of each for every part of the data: \
'softmargin train --data' takes it.

DATA with classes is what 'softmargin train --data' takes; anything else is read as 'softmargin predict' reads it, and \
has no labels.";

#[derive(Args, Debug)]
#[command(after_help = EMBED_EXAMPLES)]
pub(crate) struct EmbedOptions {
    /// A run directory, made by 'softmargin train'
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Samples: 'digits', a folder of classes, of images or of IDX files, an image, or a .npy file
    #[arg(value_name = "DATA")]
    pub(crate) data: DataSource,
    /// The file or folder to make; it must not exist
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// The part of data with classes [default: all]
    #[arg(long, value_name = "PART", value_enum)]
    pub(crate) part: Option<PartName>,
}
