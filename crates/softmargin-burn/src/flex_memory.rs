//! Access to the memory of the Flex backend's tensors, for custom operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::tensor::{Bytes, DType, Device, Shape, TensorData};

/// A tensor of the Flex backend.
pub type FlexTensor = FloatTensor<Flex>;

/// Returns true if a device belongs to the Flex backend, with or without autodiff.
pub fn is_flex(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns, reason = "other devices exist where Burn is built with other backends")]
        _ => false,
    }
}

/// Returns the elements of a contiguous tensor of `f32`, without a copy.
///
/// # Panics
/// If the tensor has another type or is not contiguous. Convert it to `f32` and call `to_contiguous` first.
pub fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the caller has chosen f32 tensors and made them contiguous")
}

/// Creates a tensor of `f32` elements without copying them.
///
/// # Panics
/// If the shape has another number of elements.
pub fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::from_bytes(Bytes::from_elems(values), shape, DType::F32))
}
