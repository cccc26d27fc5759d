//! Tensors of the Flex backend as plain memory, for custom operations on it.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::tensor::{Bytes, DType, Device, Shape, TensorData};

/// A tensor of the Flex backend.
pub type FlexTensor = FloatTensor<Flex>;

/// Whether tensors of a device lie in the Flex backend, with or without derivatives.
pub fn is_flex(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns, reason = "other devices exist where Burn is built with other backends")]
        _ => false,
    }
}

/// The elements of a tensor of `f32` that lie side by side in memory.
///
/// # Panics
/// On a tensor of another type, or one that is not contiguous: choose `f32` and call `to_contiguous` before.
pub fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the caller has chosen f32 tensors and made them contiguous")
}

/// A tensor of these elements, whose memory it takes over.
///
/// # Panics
/// When the shape has another number of elements.
pub fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::from_bytes(Bytes::from_elems(values), shape, DType::F32))
}
