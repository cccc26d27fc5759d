//! What a user asks for by name, and the preset and spec that it resolves to.

use super::overlay::Overlay;
use crate::error::Result;
use crate::loss::Loss;
use crate::presets::{self, Preset};
use crate::spec::LossSpec;
use serde::{Deserialize, Serialize};

/// The name of the default loss, [`presets::AM_SOFTMAX`].
pub const DEFAULT_LOSS: &str = presets::AM_SOFTMAX.name;

/// A preset by name, and what differs from it; see the [module](crate::request). The section `[loss]` of a file.
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
    /// The name or an alias of a preset; [`DEFAULT_LOSS`] if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The scale, or where a learned one starts; wins over that of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The numbers of the margin, as the [preset](Preset::margin) names them; they win over the margin of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Vec<f64>>,
    /// Parts of the loss in place of the preset's own, or all of them.
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
    /// Returns a request for a preset as it is.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Returns the preset that is named, or that of [`DEFAULT_LOSS`].
    ///
    /// # Errors
    /// On an unknown name; the message has the nearest known one.
    pub fn preset(&self) -> Result<&'static Preset> {
        presets::find(self.name.as_deref().unwrap_or(DEFAULT_LOSS))
    }

    /// Merges preset, overlay and numbers. Class counts are added with [`ResolvedLoss::with_class_counts`].
    ///
    /// # Errors
    /// On an unknown name, on keys, kinds or types that the overlay may not have, and on a margin of another count of
    /// numbers than the preset takes. Ranges are checked by [`ResolvedLoss::build`].
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
    /// Returns whether a margin goes by the frequency of the classes, and their counts are still missing.
    pub fn needs_class_counts(&self) -> bool {
        self.spec.needs_class_counts()
    }

    /// Returns the same loss with the samples of each class (C), where a margin goes by them and has no counts of its own.
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

    /// Checks the loss for `num_classes` classes.
    ///
    /// # Errors
    /// As [`LossSpec::build`].
    pub fn build(self, num_classes: usize) -> Result<Loss> {
        self.spec.build(num_classes)
    }
}
