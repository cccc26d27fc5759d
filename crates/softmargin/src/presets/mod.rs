//! The published losses: one file each, with equation, defaults and paper.
//!
//! Each preset is a constant. [`find`] returns it by name:
//!
//! ```
//! use softmargin::presets;
//! let preset = presets::find("cosface")?;
//! assert_eq!(preset.name, presets::AM_SOFTMAX.name);
//! let spec = preset.spec_with(Some(64.0), Some(&[0.25]))?;
//! # Ok::<(), softmargin::Error>(())
//! ```

mod adaface;
mod am_softmax;
mod arcface;
mod combined_margin;
mod crammer_singer;
mod cross_entropy;
mod curricularface;
mod elasticface;
mod elasticface_cos;
mod l_softmax;
mod ldam;
mod lse_hinge;
mod magface;
mod mv_softmax;
mod normface;
mod one_versus_rest;
mod perceptron;
mod preset;
mod sphereface;
mod sphereface_r_v1;
mod sphereface_r_v2;
mod sub_center_arcface;
mod weston_watkins;

pub use adaface::ADAFACE;
pub use am_softmax::AM_SOFTMAX;
pub use arcface::ARCFACE;
pub use combined_margin::COMBINED_MARGIN;
pub use crammer_singer::CRAMMER_SINGER;
pub use cross_entropy::CROSS_ENTROPY;
pub use curricularface::CURRICULARFACE;
pub use elasticface::ELASTICFACE;
pub use elasticface_cos::ELASTICFACE_COS;
pub use l_softmax::L_SOFTMAX;
pub use ldam::LDAM;
pub use lse_hinge::LSE_HINGE;
pub use magface::MAGFACE;
pub use mv_softmax::MV_SOFTMAX;
pub use normface::NORMFACE;
pub use one_versus_rest::ONE_VERSUS_REST;
pub use perceptron::PERCEPTRON;
pub use preset::{MarginParameter, Preset};
pub use sphereface::SPHEREFACE;
pub use sphereface_r_v1::SPHEREFACE_R_V1;
pub use sphereface_r_v2::SPHEREFACE_R_V2;
pub use sub_center_arcface::SUB_CENTER_ARCFACE;
pub use weston_watkins::WESTON_WATKINS;

use crate::error::{Error, ErrorKind, Result};

/// Returns all presets, from cross-entropy and the hinges to margins of cosines and their extensions.
pub fn all() -> &'static [Preset] {
    &[
        CROSS_ENTROPY,
        WESTON_WATKINS,
        CRAMMER_SINGER,
        LSE_HINGE,
        PERCEPTRON,
        ONE_VERSUS_REST,
        NORMFACE,
        AM_SOFTMAX,
        ARCFACE,
        SPHEREFACE,
        L_SOFTMAX,
        COMBINED_MARGIN,
        SUB_CENTER_ARCFACE,
        SPHEREFACE_R_V1,
        SPHEREFACE_R_V2,
        LDAM,
        ELASTICFACE,
        ELASTICFACE_COS,
        ADAFACE,
        MAGFACE,
        CURRICULARFACE,
        MV_SOFTMAX,
    ]
}

/// Returns the preset with a name or an alias.
///
/// # Errors
/// If the name is unknown. The message suggests the most similar name.
pub fn find(name: &str) -> Result<&'static Preset> {
    let named = |preset: &&Preset| preset.names().any(|known| known == name);
    all().iter().find(named).ok_or_else(|| {
        let nearest = nearest(name).map_or_else(String::new, |nearest| format!("did you mean \"{nearest}\"? "));
        let names: Vec<&str> = all().iter().map(|preset| preset.name).collect();
        let expected = format!("one of {}", names.join(", "));
        let advice = format!("{nearest}names are in lower case, with hyphens");
        Error::new(ErrorKind::UnknownName, "loss", expected, format!("\"{name}\""), advice)
    })
}

/// Returns the known name that is most similar to an unknown one, if any is similar enough.
fn nearest(name: &str) -> Option<&'static str> {
    const LIKE: f64 = 0.75;
    let wanted = name.to_lowercase().replace(['_', ' '], "-");
    let known = all().iter().flat_map(Preset::names);
    let scored = known.map(|known| (strsim::jaro_winkler(&wanted, known), known));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= LIKE).map(|(_, known)| known)
}
