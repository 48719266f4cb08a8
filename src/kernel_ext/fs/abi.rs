// SPDX-License-Identifier: GPL-2.0

//! Structures that cross to and from userspace.

/// A structure that crosses to or from userspace: any bytes are a value of it, and it has no
/// padding.
macro_rules! uapi_struct {
    (
        $(#[$meta:meta])*
        $name:ident, $size:literal bytes { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)*
        }

        // Every byte belongs to a field.
        ::kernel::prelude::static_assert!(::core::mem::size_of::<$name>() == $size);
        ::kernel::prelude::static_assert!(0 $(+ ::core::mem::size_of::<$type>())* == $size);

        #[allow(unsafe_code, reason = "For the macro, which is of `kernel_ext`.")]
        // SAFETY: All fields are integers or arrays of integers, for which all bytes are valid.
        unsafe impl ::kernel::transmute::FromBytes for $name {}
        #[allow(unsafe_code, reason = "For the macro, which is of `kernel_ext`.")]
        // SAFETY: As above, and there is no padding: the sizes of the fields add up, as asserted.
        unsafe impl ::kernel::transmute::AsBytes for $name {}
    };
}
pub(crate) use uapi_struct;
