//! The one source of randomness, which the loss family shares: see [`softmargin::random`].

pub use softmargin::random::{Generator, Purpose};
