//! The request of a loss by name, and the preset and spec that it resolves to.

use super::overlay::Overlay;
use crate::error::Result;
use crate::loss::Loss;
use crate::presets::{self, Preset};
use crate::spec::LossSpec;
use serde::{Deserialize, Serialize};

/// The name of the default loss, [`presets::AM_SOFTMAX`].
pub const DEFAULT_LOSS: &str = presets::AM_SOFTMAX.name;

/// A preset by name, and the parts and numbers that differ from it; see the [module](crate::request). It is the section
/// `[loss]` of a file.
///
/// ```
/// use softmargin::request::LossRequest;
/// let request = LossRequest { margin: Some(vec![0.2]), ..LossRequest::named("cosface") };
/// let resolved = request.resolve()?;
/// assert_eq!((resolved.preset.name, resolved.spec.scale.initial()), ("am-softmax", 30.0));
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LossRequest {
    /// The name or an alias of a preset. The default is [`DEFAULT_LOSS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The scale, or the initial value of a learned one. It overrides the scale of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The numbers of the margin, as the [preset](Preset::margin) names them. They override the margin of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Vec<f64>>,
    /// The parts of the loss that replace those of the preset: some, or all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Overlay>,
}

/// The preset and the whole spec of a [`LossRequest`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolvedLoss {
    /// The preset that was named.
    pub preset: &'static Preset,
    /// The loss.
    pub spec: LossSpec,
}

impl LossRequest {
    /// Returns a request for a preset without changes.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Returns the preset that is named, or that of [`DEFAULT_LOSS`].
    ///
    /// # Errors
    /// If the name is unknown. The message has the nearest known one.
    pub fn preset(&self) -> Result<&'static Preset> {
        presets::find(self.name.as_deref().unwrap_or(DEFAULT_LOSS))
    }

    /// Merges preset, overlay and numbers. [`ResolvedLoss::with_class_counts`] adds the class counts.
    ///
    /// # Errors
    /// If the name is unknown, the overlay has an unknown key or kind or a value of the wrong type, or the number of
    /// margin values is not that of the preset. [`ResolvedLoss::build`] checks ranges.
    pub fn resolve(&self) -> Result<ResolvedLoss> {
        let preset = self.preset()?;
        let spec = self.overlaid(preset)?;
        Ok(ResolvedLoss { preset, spec: preset.with_numbers(spec, self.scale, self.margin.as_deref())? })
    }

    /// Returns the spec of the preset with the overlay, before scale and margin are set by number.
    pub(super) fn overlaid(&self, preset: &Preset) -> Result<LossSpec> {
        match &self.spec {
            Some(overlay) => overlay.apply_to(&preset.spec()),
            None => Ok(preset.spec()),
        }
    }
}

impl ResolvedLoss {
    /// Returns true if a margin value depends on the class frequencies, and the class counts are missing.
    pub fn needs_class_counts(&self) -> bool {
        self.spec.needs_class_counts()
    }

    /// Returns the same loss with the number of samples of each class (C), set only in margin values by class frequency
    /// that have no counts.
    ///
    /// ```
    /// use softmargin::request::LossRequest;
    /// let counts = [500, 20];
    /// assert!(LossRequest::named("ldam").resolve()?.with_class_counts(&counts).build(2).is_ok());
    /// assert!(LossRequest::named("arcface").resolve()?.with_class_counts(&counts).build(2).is_ok());
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    #[must_use]
    pub fn with_class_counts(self, counts: &[u64]) -> Self {
        Self { spec: self.spec.with_missing_class_counts(counts), ..self }
    }

    /// Checks the loss and returns it for `num_classes` classes.
    ///
    /// # Errors
    /// As [`LossSpec::build`].
    pub fn build(self, num_classes: usize) -> Result<Loss> {
        self.spec.build(num_classes)
    }
}
