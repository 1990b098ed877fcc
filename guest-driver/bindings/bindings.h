/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the interfaces of the kernel that the `kernel` crate does not cover yet.
 */

#include <linux/version.h>

#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_dma_buf.h>
#include <linux/virtio_ids.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <media/v4l2-dev.h>
#include <media/v4l2-device.h>
#include <media/v4l2-event.h>
#include <media/v4l2-fh.h>
#include <media/v4l2-ioctl.h>

#include "../helpers/v4l2.h"
#include "../helpers/virtio.h"
