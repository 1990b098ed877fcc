// SPDX-License-Identifier: GPL-2.0

//! Arguments of ioctls as structures of the wire.

use crate::media::Request;
use crate::wire::v4l2::{Buffer, Plane};
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// The argument as a structure of the wire.
pub(super) fn payload<'a, T>(request: &'a mut Request<'_>) -> Result<&'a mut T>
where
    T: FromBytes + IntoBytes + KnownLayout,
{
    T::mut_from_bytes(request.payload).map_err(|_| EINVAL)
}

/// An array as structures of the wire. (An empty one has no address, so also none that is aligned.)
pub(super) fn elements_mut<T>(array: &mut [u8]) -> Result<&mut [T]>
where
    T: FromBytes + IntoBytes + KnownLayout,
{
    if array.is_empty() {
        return Ok(&mut []);
    }
    <[T]>::mut_from_bytes(array).map_err(|_| EINVAL)
}

/// The argument of a buffer ioctl and its planes.
pub(super) fn buffer<'a>(
    request: &'a mut Request<'_>,
) -> Result<(&'a mut Buffer, &'a mut [Plane])> {
    let buffer = Buffer::mut_from_bytes(request.payload).map_err(|_| EINVAL)?;
    Ok((buffer, elements_mut(request.array)?))
}
