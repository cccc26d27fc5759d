//! The order of the axes of an array of images.
//!
//! | shape | images |
//! |---|---|
//! | (N, H, W) | gray |
//! | (N, H, W, 1), (N, 1, H, W) | gray |
//! | (N, H, W, 3), (N, 3, H, W) | color |
//! | (H, W, 1), (H, W, 3) | one image |
//! | (3, H, W) | three gray images for a model of gray images, otherwise ambiguous |
//!
//! An axis of 1 or 3 beside sides of 4 or more must be the channels; a shape with shorter sides may be ambiguous.

use softmargin_data::error::Error;
use softmargin_data::wording::counted;

/// A side that cannot be taken for channels.
const CLEAR_SIDE: usize = 4;

/// The images in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageLayout {
    /// The number of images; `None` for one image without an axis of images.
    pub(super) rows: Option<usize>,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// True if the channels come before height and width.
    pub(super) planes: bool,
}

impl ImageLayout {
    /// Recognizes the images in an array of the given shape, for a model of images with `channels`.
    ///
    /// # Errors
    /// If the shape is none of images, or several layouts have it.
    pub(super) fn recognize(name: &str, shape: &[usize], channels: usize) -> Result<Self, Error> {
        let mut layouts = Self::with_shape(shape);
        narrow(&mut layouts, |layout| layout.height.min(layout.width) >= CLEAR_SIDE);
        if channels == 1 {
            narrow(&mut layouts, |layout| layout.channels == 1);
        }
        match layouts[..] {
            [layout] => Ok(layout),
            [] => {
                let expected = "images of the shape (N, H, W) or (N, H, W, 3)";
                Err(Error::request(name, expected, format!("the shape {shape:?}"), advice(shape)))
            }
            _ => Err(ambiguous(name, shape, &layouts)),
        }
    }

    /// Returns all layouts that an array of this shape can have.
    fn with_shape(shape: &[usize]) -> Vec<Self> {
        let layout =
            |rows, [height, width, channels]: [usize; 3], planes| Self { rows, height, width, channels, planes };
        let mut layouts = match *shape {
            [a, b, c] => vec![
                layout(Some(a), [b, c, 1], false),
                layout(None, [a, b, c], false),
                // One plane is the same image as one row.
                layout(None, [b, c, if a == 1 { 0 } else { a }], true),
            ],
            [n, a, b, c] => vec![layout(Some(n), [a, b, c], false), layout(Some(n), [b, c, a], true)],
            _ => Vec::new(),
        };
        layouts.retain(|layout| matches!(layout.channels, 1 | 3) && layout.height * layout.width > 0);
        layouts
    }

    /// Describes the images, and how NumPy makes them an array (N, H, W, C).
    fn described(self) -> (String, &'static str) {
        let Self { rows, height, width, channels, planes } = self;
        let color = if channels == 1 { "gray" } else { "color" };
        let images = format!("{} of {height} x {width} pixels", counted(rows.unwrap_or(1), &format!("{color} image")));
        match (rows, planes) {
            (Some(_), true) => (format!("{images}, channels first"), "array.transpose(0, 2, 3, 1)"),
            (None, true) => (format!("{images}, channels first"), "array.transpose(1, 2, 0)[None]"),
            (Some(_), false) if channels == 1 => (images, "array[..., None]"),
            (Some(_), false) => (images, "images with sides of 4 pixels or more"),
            (None, false) => (images, "array[None]"),
        }
    }
}

/// Keeps the layouts for which `is_better` holds, if there are any.
fn narrow(layouts: &mut Vec<ImageLayout>, is_better: impl Fn(&ImageLayout) -> bool) {
    if layouts.iter().any(&is_better) {
        layouts.retain(is_better);
    }
}

fn ambiguous(name: &str, shape: &[usize], layouts: &[ImageLayout]) -> Error {
    let described: Vec<_> = layouts.iter().map(|layout| layout.described()).collect();
    let images: Vec<&str> = described.iter().map(|(images, _)| images.as_str()).collect();
    let ways: Vec<String> = described.iter().map(|(images, way)| format!("for {images}, give {way}")).collect();
    let found = format!("the shape {shape:?}, which can be {}", images.join(" or "));
    Error::request(name, "images in an array whose axes are clear", found, ways.join("; "))
}

fn advice(shape: &[usize]) -> &'static str {
    match *shape {
        [.., 4] if shape.len() > 2 => "remove the alpha channel: array[..., :3]",
        [_, 4, _, _] => "remove the alpha channel: array[:, :3]",
        [_, _] => "one gray image (H, W) is array[None]; flattened images lost their shape: save them before that",
        _ => "array.transpose brings the axes into this order",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognized(shape: &[usize], channels: usize) -> Result<(Option<usize>, [usize; 3], bool), String> {
        let layout = ImageLayout::recognize("x", shape, channels).map_err(|error| error.to_string())?;
        Ok((layout.rows, [layout.height, layout.width, layout.channels], layout.planes))
    }

    #[test]
    fn clear_shapes_are_recognized_for_gray_and_color_models() {
        for channels in [1, 3] {
            let of = |shape: &[usize]| recognized(shape, channels).unwrap();
            assert_eq!(of(&[5, 8, 9]), (Some(5), [8, 9, 1], false));
            assert_eq!(of(&[1, 8, 9]), (Some(1), [8, 9, 1], false));
            assert_eq!(of(&[5, 8, 9, 1]), (Some(5), [8, 9, 1], false));
            assert_eq!(of(&[5, 8, 9, 3]), (Some(5), [8, 9, 3], false));
            assert_eq!(of(&[5, 1, 8, 9]), (Some(5), [8, 9, 1], true));
            assert_eq!(of(&[3, 3, 8, 9]), (Some(3), [8, 9, 3], true));
            assert_eq!(of(&[64, 48, 3]), (None, [64, 48, 3], false));
            assert_eq!(of(&[64, 48, 1]), (None, [64, 48, 1], false));
            assert_eq!(of(&[0, 8, 8]), (Some(0), [8, 8, 1], false));
        }
        assert_eq!(recognized(&[3, 64, 48], 1).unwrap(), (Some(3), [64, 48, 1], false));
    }

    #[test]
    fn ambiguous_shapes_name_the_way_out() {
        let message = recognized(&[3, 64, 48], 3).unwrap_err();
        for part in ["3 gray images of 64 x 48 pixels", "array[..., None]", "array.transpose(1, 2, 0)[None]"] {
            assert!(message.contains(part), "{message}");
        }
        let message = recognized(&[2, 3, 8, 3], 3).unwrap_err();
        assert!(message.contains("array.transpose(0, 2, 3, 1)") && message.contains("3 x 8"), "{message}");
        assert!(recognized(&[2, 3, 8, 3], 1).is_err());
        // What the messages advise is read.
        assert_eq!(recognized(&[3, 64, 48, 1], 3).unwrap(), (Some(3), [64, 48, 1], false));
        assert_eq!(recognized(&[1, 64, 48, 3], 3).unwrap(), (Some(1), [64, 48, 3], false));
        assert_eq!(recognized(&[2, 8, 3, 3], 3).unwrap(), (Some(2), [8, 3, 3], false));
    }

    #[test]
    fn no_advice_destroys_images() {
        for shape in [&[128][..], &[2, 64], &[1, 8, 8, 2], &[1, 8, 8, 4], &[1, 4, 8, 8], &[8, 8, 4, 1, 1], &[3, 0, 8]] {
            let message = recognized(shape, 3).unwrap_err();
            assert!(message.contains("(N, H, W)") && !message.contains("reshape"), "{message}");
        }
        assert!(recognized(&[5, 8, 8, 4], 3).unwrap_err().contains("array[..., :3]"));
        assert!(recognized(&[5, 4, 8, 8], 3).unwrap_err().contains("array[:, :3]"));
        assert!(recognized(&[5, 8, 2, 8], 3).unwrap_err().contains("transpose"));
    }
}
