/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VIRTIO_HELPERS_H
#define VIRTIO_HELPERS_H

#include <linux/completion.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

void virtio_helper_irq_lock(spinlock_t *lock);
bool virtio_helper_irq_trylock(spinlock_t *lock);
void virtio_helper_irq_unlock(spinlock_t *lock);
void virtio_helper_init_completion(struct completion *done);
unsigned int virtio_helper_pages(const void *data, size_t len);
void virtio_helper_sg_init_table(struct scatterlist *sgs, unsigned int count);
unsigned int virtio_helper_sg_set(struct scatterlist *sgs, unsigned int max, void *data,
				  size_t len);
phys_addr_t virtio_helper_phys(const void *addr);
void virtio_helper_any_segment(struct virtio_device *vdev);
bool virtio_helper_has_feature(const struct virtio_device *vdev, unsigned int bit);
int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
			 struct virtqueue_info infos[]);
void virtio_helper_del_vqs(struct virtio_device *vdev);
void virtio_helper_device_ready(struct virtio_device *vdev);
void virtio_helper_config_read(struct virtio_device *vdev, unsigned int offset, void *data,
			       unsigned int len);
u8 virtio_helper_status(struct virtio_device *vdev);
bool virtio_helper_get_shm_region(struct virtio_device *vdev, struct virtio_shm_region *region,
				  u8 id);
bool virtio_helper_ratelimit(void);

#endif
