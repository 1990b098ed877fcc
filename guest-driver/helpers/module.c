// SPDX-License-Identifier: GPL-2.0
/*
 * The devices that the module is loaded for.
 */

#include <linux/mod_devicetable.h>
#include <linux/module.h>

/*
 * Loads the module for virtio ID 48. Not for ID 30, which the driver takes only when asked to: it
 * may be an old virtio-video device. ID 48 has no name in virtio_ids.h yet.
 */
static const struct virtio_device_id __maybe_unused aliases[] = {
	{ 48, VIRTIO_DEV_ANY_ID },
	{ },
};
MODULE_DEVICE_TABLE(virtio, aliases);
