// SPDX-License-Identifier: GPL-2.0

//! `mmap(2)` of MMAP buffers.

use crate::driver::memory::establish;
use crate::driver::session::Session;
use crate::media::Vma;
use crate::wire::command::MMAP_FLAG_RW;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Maps the plane whose offset the area asks for.
///
/// # Errors
///
/// `EINVAL`: no such plane, a private mapping, or one longer than the plane; as [`establish`].
pub(in crate::driver) fn map(session: &Session, vma: &mut Vma<'_>) -> Result {
    session.check()?;
    if !vma.is_shared() {
        return Err(EINVAL);
    }
    let plane = session.state().lock().streams.mappable_at(vma.offset());
    let plane = plane?;
    let own = session
        .imports()
        .own_pages(plane.buf_type, plane.index, plane.plane);
    if let Some(pages) = own {
        let keep = Arc::new((pages.clone(), plane.user), GFP_KERNEL_ACCOUNT)?;
        return vma.insert(&pages, 0, keep);
    }
    let offset = u32::try_from(plane.at).map_err(|_| EIO)?;
    let flags = if vma.is_writable() { MMAP_FLAG_RW } else { 0 };
    let (mapping, addr, len) = establish(session.device(), session.id(), offset, flags)?;
    if vma.len() as u64 > len {
        return Err(EINVAL);
    }
    let keep = Arc::new((mapping, plane.user), GFP_KERNEL_ACCOUNT)?;
    vma.map(session.device().revocable(), addr, keep)
}
