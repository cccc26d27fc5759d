//! The commands `softmargin train`, `evaluate`, `predict` and `embed`. Only this module ties configuration,
//! data, training, run directories and reports together.

mod embed;
mod evaluate;
mod matched_dataset;
mod predict;
mod report_records;
mod saved_model;
mod train;

pub use embed::{EmbedRequest, EmbedSummary, embed};
pub use evaluate::{EvaluateRequest, EvaluateSummary, evaluate};
pub use matched_dataset::{MatchedDataset, NewClasses, Part};
pub use predict::{PredictRequest, Prediction, Predictions, ScoredClass, UnknownScore, predict};
pub use train::{TrainSummary, train};
