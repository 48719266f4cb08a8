// SPDX-License-Identifier: GPL-2.0

//! The numbers of nodes.

use super::{
    region::{
        self,
        NumberState,
        MAX_NODES, //
    },
    File, //
};
use crate::kernel_ext::device::raw;
use core::marker::PhantomData;
use kernel::{
    bindings,
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::Arc, //
};

/// The reserved number of a node. Dropping it releases the number.
///
/// # Invariants
///
/// The state of this number in the region is not [`NumberState::Free`].
pub(crate) struct Number<F: File> {
    pub(super) number: usize,
    _file: PhantomData<fn() -> F>,
}

impl<F: File> Number<F> {
    /// Reserves the number that was kept for the device, or the lowest free number.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if all numbers are taken.
    pub(crate) fn reserve(device: &Device<Bound>) -> Result<Self> {
        let device = raw(device);
        let number = region::with::<F, _>(|region| Self::reserve_in(&mut region.states, device))??;
        // INVARIANT: `reserve_in` has set the state to `Reserved`.
        Ok(Self {
            number,
            _file: PhantomData,
        })
    }

    fn reserve_in(
        states: &mut KVec<NumberState<Arc<F::Device>>>,
        device: *const bindings::device,
    ) -> Result<usize> {
        let kept =
            |state: &NumberState<_>| matches!(state, NumberState::Kept(owner) if *owner == device);
        let free = |state: &NumberState<_>| matches!(state, NumberState::Free);
        let number = states.iter().position(kept);
        match number.or_else(|| states.iter().position(free)) {
            Some(number) => {
                states[number] = NumberState::Reserved;
                Ok(number)
            }
            None if states.len() < MAX_NODES => {
                states.push(NumberState::Reserved, GFP_KERNEL)?;
                Ok(states.len() - 1)
            }
            None => Err(ENOSPC),
        }
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> usize {
        self.number
    }

    /// Sets the state of the number.
    pub(super) fn set(&self, state: NumberState<Arc<F::Device>>) {
        let old = region::with::<F, _>(|region| {
            let current = region.states.get_mut(self.number);
            current.map(|current| core::mem::replace(current, state))
        });
        // Dropped outside of the lock.
        drop(old);
    }
}

impl<F: File> Drop for Number<F> {
    fn drop(&mut self) {
        self.set(NumberState::Free);
    }
}
