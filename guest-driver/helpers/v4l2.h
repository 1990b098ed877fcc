/* SPDX-License-Identifier: GPL-2.0 */
#ifndef V4L2_HELPERS_H
#define V4L2_HELPERS_H

#include <linux/dma-buf.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/poll.h>
#include <linux/scatterlist.h>
#include <linux/virtio_dma_buf.h>

#include <media/v4l2-ioctl.h>

struct v4l2_fh;
struct video_device;

/*
 * Callbacks with enums among their arguments. A kernel with CONFIG_CFI tells functions apart by the
 * types of their arguments, and Rust has none that is an enum of C to it. So these callbacks are
 * functions of C, which call what stands behind the table.
 */
struct v4l2_helper_ioctl_ops {
	struct v4l2_ioctl_ops ops;
	int (*streamon)(struct file *file, void *private, u32 type);
	int (*streamoff)(struct file *file, void *private, u32 type);
};

int v4l2_helper_streamon(struct file *file, void *private, enum v4l2_buf_type type);
int v4l2_helper_streamoff(struct file *file, void *private, enum v4l2_buf_type type);

struct v4l2_helper_dma_buf_ops {
	struct virtio_dma_buf_ops virtio;
	struct sg_table *(*map)(struct dma_buf_attachment *attachment, int direction);
	void (*unmap)(struct dma_buf_attachment *attachment, struct sg_table *table, int direction);
};

struct sg_table *v4l2_helper_map_dma_buf(struct dma_buf_attachment *attachment,
					 enum dma_data_direction direction);
void v4l2_helper_unmap_dma_buf(struct dma_buf_attachment *attachment, struct sg_table *table,
			       enum dma_data_direction direction);

phys_addr_t v4l2_helper_page_to_phys(struct page *page);
phys_addr_t v4l2_helper_dma_to_phys(struct device *dev, dma_addr_t addr);
void v4l2_helper_dma_buf_ref(struct dma_buf *dmabuf);
int v4l2_helper_map_resource(struct device *dev, struct sg_table *table, phys_addr_t addr,
			     unsigned int len, enum dma_data_direction dir);
void v4l2_helper_unmap_resource(struct device *dev, struct sg_table *table,
				enum dma_data_direction dir);
unsigned long v4l2_helper_ram_pages(void);
void *v4l2_helper_vmap(struct page **pages, unsigned int count);
void v4l2_helper_fence_put(struct dma_fence *fence);
void v4l2_helper_bus_info(struct file *file, struct v4l2_capability *cap);
int v4l2_helper_prio_check(struct v4l2_fh *fh);
const char *v4l2_helper_node_name(struct video_device *vdev);
void v4l2_helper_poll_wait(struct file *file, wait_queue_head_t *wait,
			   struct poll_table_struct *table);
void v4l2_helper_wake_up(wait_queue_head_t *wait, __poll_t events);
bool v4l2_helper_has_sleeper(wait_queue_head_t *wait);
__poll_t v4l2_helper_poll_requested(const struct poll_table_struct *table);
struct inode *v4l2_helper_space_new(void);
void v4l2_helper_space_free(struct inode *inode);
void v4l2_helper_space_adopt(struct inode *inode, struct file *file);
void v4l2_helper_space_unmap(struct inode *inode);
void v4l2_helper_vma_device(struct vm_area_struct *vma);
void *v4l2_helper_fault_data(const struct vm_fault *fault);
vm_fault_t v4l2_helper_fault(struct vm_fault *fault, unsigned long pfn, unsigned long first,
			     unsigned long count);
int v4l2_helper_insert_page(struct vm_area_struct *vma, unsigned long index, struct page *page);
void v4l2_helper_vma_no_write(struct vm_area_struct *vma);
int v4l2_helper_watch(struct mmu_interval_notifier *notifier, unsigned long start,
		      unsigned long len, const struct mmu_interval_notifier_ops *ops);
bool v4l2_helper_watches_caller(const struct mmu_interval_notifier *notifier);
struct module *v4l2_helper_this_module(void);

#endif
