//! The order of a binary layer.

use crate::Error;
use crate::error::InputError;
use horq_kernels::MAX_ORDER;

/// How many sign planes a binary layer computes with: 1 to [`MAX_ORDER`]. Order 1 is XNOR-Net; higher orders are more exact
/// and cost as much more.
///
/// ```
/// use horq::Order;
///
/// assert_eq!(Order::new(2)?.get(), 2);
/// assert!(Order::new(0).is_err() && Order::new(9).is_err());
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(usize);

impl Order {
    /// Order 1, the fastest.
    pub const ONE: Self = Self(1);
    /// The highest order that any layer can have.
    pub const MAX: Self = Self(MAX_ORDER);

    /// The order of that many planes.
    ///
    /// # Errors
    /// [`InputError::OrderRange`](crate::error::InputError::OrderRange) unless it is 1 to [`MAX_ORDER`].
    pub const fn new(order: usize) -> Result<Self, Error> {
        match order {
            1..=MAX_ORDER => Ok(Self(order)),
            _ => Err(Error::Input(InputError::OrderRange { order, limit: MAX_ORDER })),
        }
    }

    /// The number of planes.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<usize> for Order {
    type Error = Error;

    fn try_from(order: usize) -> Result<Self, Error> {
        Self::new(order)
    }
}
