/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions for macros and inlines that bindgen cannot bind.
 */

#ifndef VIRTIO_V4L2_HELPERS_H
#define VIRTIO_V4L2_HELPERS_H

#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/poll.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_dma_buf.h>

#include <media/v4l2-ioctl.h>

struct v4l2_fh;
struct video_device;

/*
 * Callbacks with enums among their arguments. A kernel with CONFIG_CFI tells functions apart by the types of their arguments, and Rust
 * has none that is an enum of C to it. So these callbacks are functions of C, which call what stands behind the table.
 */
struct virtio_v4l2_ioctl_ops {
	struct v4l2_ioctl_ops ops;
	int (*streamon)(struct file *file, void *private, u32 type);
	int (*streamoff)(struct file *file, void *private, u32 type);
};

int virtio_v4l2_streamon(struct file *file, void *private, enum v4l2_buf_type type);
int virtio_v4l2_streamoff(struct file *file, void *private, enum v4l2_buf_type type);

struct virtio_v4l2_dma_buf_ops {
	struct virtio_dma_buf_ops virtio;
	struct sg_table *(*map)(struct dma_buf_attachment *attachment, int direction);
	void (*unmap)(struct dma_buf_attachment *attachment, struct sg_table *table, int direction);
};

struct sg_table *virtio_v4l2_map_dma_buf(struct dma_buf_attachment *attachment, enum dma_data_direction direction);
void virtio_v4l2_unmap_dma_buf(struct dma_buf_attachment *attachment, struct sg_table *table,
			       enum dma_data_direction direction);

void virtio_v4l2_irq_lock(spinlock_t *lock);
bool virtio_v4l2_irq_trylock(spinlock_t *lock);
void virtio_v4l2_irq_unlock(spinlock_t *lock);

void virtio_v4l2_init_completion(struct completion *done);

unsigned int virtio_v4l2_pages(const void *data, size_t len);
void virtio_v4l2_sg_init_table(struct scatterlist *sgs, unsigned int count);
unsigned int virtio_v4l2_sg_set(struct scatterlist *sgs, unsigned int max, void *data, size_t len);
phys_addr_t virtio_v4l2_phys(const void *addr);

phys_addr_t virtio_v4l2_page_to_phys(struct page *page);

phys_addr_t virtio_v4l2_dma_to_phys(struct device *dev, dma_addr_t addr);
void virtio_v4l2_dma_buf_ref(struct dma_buf *dmabuf);
int virtio_v4l2_map_resource(struct device *dev, struct sg_table *table, phys_addr_t addr, unsigned int len,
			     enum dma_data_direction dir);
void virtio_v4l2_unmap_resource(struct device *dev, struct sg_table *table, enum dma_data_direction dir);
unsigned long virtio_v4l2_ram_pages(void);
void *virtio_v4l2_vmap(struct page **pages, unsigned int count);
void virtio_v4l2_fence_put(struct dma_fence *fence);

void virtio_v4l2_any_segment(struct virtio_device *vdev);
bool virtio_v4l2_has_feature(const struct virtio_device *vdev, unsigned int bit);
int virtio_v4l2_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
			 struct virtqueue_info infos[]);
void virtio_v4l2_del_vqs(struct virtio_device *vdev);
void virtio_v4l2_device_ready(struct virtio_device *vdev);
void virtio_v4l2_config_read(struct virtio_device *vdev, unsigned int offset, void *data, unsigned int len);
u8 virtio_v4l2_status(struct virtio_device *vdev);
bool virtio_v4l2_get_shm_region(struct virtio_device *vdev, struct virtio_shm_region *region, u8 id);
void virtio_v4l2_bus_info(struct virtio_device *vdev, char *info, size_t len);

int virtio_v4l2_prio_check(struct v4l2_fh *fh);
const char *virtio_v4l2_node_name(struct video_device *vdev);

void virtio_v4l2_poll_wait(struct file *file, wait_queue_head_t *wait, struct poll_table_struct *table);
void virtio_v4l2_wake_up(wait_queue_head_t *wait, __poll_t events);
bool virtio_v4l2_has_sleeper(wait_queue_head_t *wait);
__poll_t virtio_v4l2_poll_requested(const struct poll_table_struct *table);
struct inode *virtio_v4l2_space_new(void);
void virtio_v4l2_space_free(struct inode *inode);
void virtio_v4l2_space_adopt(struct inode *inode, struct file *file);
void virtio_v4l2_space_unmap(struct inode *inode);
void virtio_v4l2_vma_device(struct vm_area_struct *vma);
void *virtio_v4l2_fault_data(const struct vm_fault *fault);
vm_fault_t virtio_v4l2_fault(struct vm_fault *fault, unsigned long pfn, unsigned long first, unsigned long count);
int virtio_v4l2_insert_page(struct vm_area_struct *vma, unsigned long index, struct page *page);
void virtio_v4l2_vma_no_write(struct vm_area_struct *vma);
int virtio_v4l2_watch(struct mmu_interval_notifier *notifier, unsigned long start, unsigned long len,
		      const struct mmu_interval_notifier_ops *ops);
bool virtio_v4l2_watches_caller(const struct mmu_interval_notifier *notifier);
bool virtio_v4l2_ratelimit(void);
struct module *virtio_v4l2_this_module(void);

#endif
