//! Gray images that have a size of their own (digits, IDX), brought to another one.

use std::sync::Arc;

use crate::error::Error;
use crate::images::{Ink, Preparation};
use crate::load_options::Sizing;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore};
use crate::samples::Samples;

/// The preparation of gray images to the requested size.
pub(super) struct GrayFit {
    /// The preparation of the images themselves, if their size changes.
    fit: Option<Preparation>,
    /// The preparation of an image file for the same model.
    pub(super) preparation: Preparation,
    /// The clause on the size for the description, empty if it does not change.
    pub(super) clause: String,
}

impl GrayFit {
    /// Returns the preparation for `sizing` of images whose own size and ink are those of `own`.
    pub(super) fn new(sizing: Sizing, own: Preparation) -> Result<GrayFit, Error> {
        let preparation = match sizing {
            Sizing::Automatic => own,
            Sizing::Side(side) => Preparation::new(own.channels(), side, side, own.ink())?,
            Sizing::Prepared(preparation) => preparation,
        };
        if preparation.shape() == own.shape() {
            return Ok(GrayFit { fit: None, preparation, clause: String::new() });
        }
        let [channels, height, width] = preparation.shape();
        // The images of a set are alike: none is inverted on its own.
        let fit = Some(Preparation::new(channels, height, width, Ink::AsIs)?);
        Ok(GrayFit { fit, preparation, clause: format!(", brought to {height} x {width} pixels") })
    }

    /// Returns the images in their new size. Those in memory stay there; streamed ones are resized whenever they are
    /// read.
    pub(super) fn apply(&self, images: Samples, names: SampleNames) -> Result<Samples, Error> {
        let Some(fit) = self.fit else { return Ok(images) };
        let is_streamed = images.is_streamed();
        let resized = Samples::new(Arc::new(ResizedGrayImages { images, fit }))?;
        if is_streamed { Ok(resized) } else { resized.read_into_memory(names) }
    }
}

/// Gray images of other samples, resized whenever they are read.
#[derive(Debug)]
struct ResizedGrayImages {
    images: Samples,
    fit: Preparation,
}

impl SampleStore for ResizedGrayImages {
    fn kind(&self) -> SampleKind {
        SampleKind::Image
    }

    fn shape(&self) -> [usize; 3] {
        self.fit.shape()
    }

    fn count(&self) -> usize {
        self.images.count()
    }

    fn name(&self, row: usize) -> String {
        self.images.name(row)
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let [_, height, width] = self.images.shape();
        let image = self.images.image(row)?;
        self.fit.of_gray(&image, [height, width]).map(|planes| Sample::Image(planes.into()))
    }
}
