// SPDX-License-Identifier: GPL-2.0
/*
 * C functions for macros and inlines that bindgen cannot bind.
 */

#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-fence.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/pseudo_fs.h>
#include <linux/ratelimit.h>
#include <linux/vmalloc.h>

#include <media/v4l2-dev.h>
#include <media/v4l2-fh.h>

#include "helpers.h"

/*
 * Loads the module for virtio ID 48. Not for ID 30, which the driver takes only when asked to: it may be an old
 * virtio-video device. ID 48 has no name in virtio_ids.h yet.
 */
static const struct virtio_device_id __maybe_unused aliases[] = {
	{ 48, VIRTIO_DEV_ANY_ID },
	{ },
};
MODULE_DEVICE_TABLE(virtio, aliases);

MODULE_IMPORT_NS("DMA_BUF");

struct module *virtio_v4l2_this_module(void)
{
	return THIS_MODULE;
}

static const struct virtio_v4l2_ioctl_ops *ioctl_ops(struct file *file)
{
	return container_of(video_devdata(file)->ioctl_ops, struct virtio_v4l2_ioctl_ops, ops);
}

int virtio_v4l2_streamon(struct file *file, void *private, enum v4l2_buf_type type)
{
	return ioctl_ops(file)->streamon(file, private, type);
}

int virtio_v4l2_streamoff(struct file *file, void *private, enum v4l2_buf_type type)
{
	return ioctl_ops(file)->streamoff(file, private, type);
}

static const struct virtio_v4l2_dma_buf_ops *dma_buf_ops(struct dma_buf_attachment *attachment)
{
	return container_of(attachment->dmabuf->ops, struct virtio_v4l2_dma_buf_ops, virtio.ops);
}

struct sg_table *virtio_v4l2_map_dma_buf(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	return dma_buf_ops(attachment)->map(attachment, direction);
}

void virtio_v4l2_unmap_dma_buf(struct dma_buf_attachment *attachment, struct sg_table *table,
			       enum dma_data_direction direction)
{
	dma_buf_ops(attachment)->unmap(attachment, table, direction);
}

/* How many locks of virtio_v4l2_irq_lock() this CPU holds, and how interrupts were before the first of them. */
static DEFINE_PER_CPU(unsigned int, irq_locks);
static DEFINE_PER_CPU(unsigned long, irq_flags);

static void irq_disable(void)
{
	unsigned long flags;

	/* With real-time preemption spinlocks sleep, and handlers are threads. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return;
	preempt_disable();
	local_irq_save(flags);
	if (__this_cpu_inc_return(irq_locks) == 1)
		__this_cpu_write(irq_flags, flags);
}

static void irq_enable(void)
{
	unsigned long flags;

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return;
	flags = __this_cpu_read(irq_flags);
	if (!__this_cpu_dec_return(irq_locks))
		local_irq_restore(flags);
	/* Last: whoever was woken under the lock may run only now. */
	preempt_enable();
}

/* As spin_lock_irqsave(); but these locks may be released in any order, by code that knows nothing of flags. */
void virtio_v4l2_irq_lock(spinlock_t *lock)
{
	irq_disable();
	spin_lock(lock);
}

bool virtio_v4l2_irq_trylock(spinlock_t *lock)
{
	irq_disable();
	if (spin_trylock(lock))
		return true;
	irq_enable();
	return false;
}

void virtio_v4l2_irq_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
	irq_enable();
}

void virtio_v4l2_init_completion(struct completion *done)
{
	init_completion(done);
}

/* How many scatterlist entries virtio_v4l2_sg_set() needs for @data, which kvmalloc() returned. */
unsigned int virtio_v4l2_pages(const void *data, size_t len)
{
	if (!len)
		return 0;
	if (!is_vmalloc_addr(data))
		return 1;
	return DIV_ROUND_UP(offset_in_page(data) + len, PAGE_SIZE);
}

void virtio_v4l2_sg_init_table(struct scatterlist *sgs, unsigned int count)
{
	sg_init_table(sgs, count);
}

/*
 * Points entries from @sgs on at @data, which kvmalloc() returned, and returns how many it took. The caller made
 * room for virtio_v4l2_pages() entries; @max is that number again.
 */
unsigned int virtio_v4l2_sg_set(struct scatterlist *sgs, unsigned int max, void *data, size_t len)
{
	unsigned int count = 0;

	while (len && count < max) {
		size_t part = len;

		if (is_vmalloc_addr(data)) {
			part = min_t(size_t, len, PAGE_SIZE - offset_in_page(data));
			sg_set_page(&sgs[count], vmalloc_to_page(data), part, offset_in_page(data));
		} else {
			sg_set_buf(&sgs[count], data, part);
		}
		data += part;
		len -= part;
		count++;
	}
	return count;
}

/* The guest-physical address of @addr, which lies in memory of kvmalloc(). */
phys_addr_t virtio_v4l2_phys(const void *addr)
{
	if (is_vmalloc_addr(addr))
		return page_to_phys(vmalloc_to_page(addr)) + offset_in_page(addr);
	return virt_to_phys((void *)addr);
}

phys_addr_t virtio_v4l2_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

/* The guest-physical address of what is mapped for @dev at @addr. */
phys_addr_t virtio_v4l2_dma_to_phys(struct device *dev, dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain ? iommu_iova_to_phys(domain, addr) : dma_to_phys(dev, addr);
}

void virtio_v4l2_dma_buf_ref(struct dma_buf *dmabuf)
{
	get_dma_buf(dmabuf);
}

/* Maps memory of a device, which has no pages, for @dev. */
int virtio_v4l2_map_resource(struct device *dev, struct sg_table *table, phys_addr_t addr, unsigned int len,
			     enum dma_data_direction dir)
{
	dma_addr_t dma;
	int ret;

	ret = sg_alloc_table(table, 1, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	dma = dma_map_resource(dev, addr, len, dir, 0);
	if (dma_mapping_error(dev, dma)) {
		sg_free_table(table);
		return -EIO;
	}
	sg_set_page(table->sgl, NULL, len, 0);
	sg_dma_address(table->sgl) = dma;
	sg_dma_len(table->sgl) = len;
	return 0;
}

void virtio_v4l2_unmap_resource(struct device *dev, struct sg_table *table, enum dma_data_direction dir)
{
	dma_unmap_resource(dev, sg_dma_address(table->sgl), sg_dma_len(table->sgl), dir, 0);
}

unsigned long virtio_v4l2_ram_pages(void)
{
	return totalram_pages();
}

void *virtio_v4l2_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

void virtio_v4l2_fence_put(struct dma_fence *fence)
{
	dma_fence_put(fence);
}

/* The device takes memory in runs of any length: it is told of addresses. */
void virtio_v4l2_any_segment(struct virtio_device *vdev)
{
	struct device *dev = vdev->dev.parent ?: &vdev->dev;

	if (dev->dma_parms)
		dma_set_max_seg_size(dev, UINT_MAX);
}

bool virtio_v4l2_has_feature(const struct virtio_device *vdev, unsigned int bit)
{
	return virtio_has_feature(vdev, bit);
}

int virtio_v4l2_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
			 struct virtqueue_info infos[])
{
	return virtio_find_vqs(vdev, count, vqs, infos, NULL);
}

void virtio_v4l2_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

void virtio_v4l2_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

void virtio_v4l2_config_read(struct virtio_device *vdev, unsigned int offset, void *data, unsigned int len)
{
	virtio_cread_bytes(vdev, offset, data, len);
}

u8 virtio_v4l2_status(struct virtio_device *vdev)
{
	return vdev->config->get_status(vdev);
}

bool virtio_v4l2_get_shm_region(struct virtio_device *vdev, struct virtio_shm_region *region, u8 id)
{
	return virtio_get_shm_region(vdev, region, id);
}

/* v4l2-compliance accepts neither "virtio:" nor an empty string. */
void virtio_v4l2_bus_info(struct virtio_device *vdev, char *info, size_t len)
{
	struct device *parent = vdev->dev.parent;

	if (parent && dev_is_pci(parent))
		snprintf(info, len, "PCI:%s", dev_name(parent));
	else
		snprintf(info, len, "platform:%s", dev_name(&vdev->dev));
}

/* Whether a call that changes something may be made, by V4L2's priorities. */
int virtio_v4l2_prio_check(struct v4l2_fh *fh)
{
	return v4l2_prio_check(fh->vdev->prio, fh->prio);
}

const char *virtio_v4l2_node_name(struct video_device *vdev)
{
	return video_device_node_name(vdev);
}

void virtio_v4l2_poll_wait(struct file *file, wait_queue_head_t *wait, struct poll_table_struct *table)
{
	poll_wait(file, wait, table);
}

void virtio_v4l2_wake_up(wait_queue_head_t *wait, __poll_t events)
{
	wake_up_interruptible_poll(wait, events);
}

bool virtio_v4l2_has_sleeper(wait_queue_head_t *wait)
{
	return wq_has_sleeper(wait);
}

__poll_t virtio_v4l2_poll_requested(const struct poll_table_struct *table)
{
	return poll_requested_events(table);
}

static int space_init_fs_context(struct fs_context *context)
{
	return init_pseudo(context, 0x56344c32) ? 0 : -ENOMEM;
}

/*
 * What the inodes of address spaces are of. It has no owner: a bound device has such an inode, and must not keep the
 * module from being removed. Whoever else has one has the module, too.
 */
static struct file_system_type space_type = {
	.name = "virtio_v4l2",
	.init_fs_context = space_init_fs_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *space_mount;
static int space_users;

/* An inode for its address space alone. */
struct inode *virtio_v4l2_space_new(void)
{
	struct inode *inode;
	int ret;

	ret = simple_pin_fs(&space_type, &space_mount, &space_users);
	if (ret)
		return ERR_PTR(ret);
	inode = alloc_anon_inode(space_mount->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&space_mount, &space_users);
	return inode;
}

void virtio_v4l2_space_free(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&space_mount, &space_users);
}

/* What is mapped through @file from now on is found in the address space of @inode. */
void virtio_v4l2_space_adopt(struct inode *inode, struct file *file)
{
	file->f_mapping = inode->i_mapping;
}

void virtio_v4l2_space_unmap(struct inode *inode)
{
	unmap_mapping_range(inode->i_mapping, 0, 0, 1);
}

/*
 * Makes the area, which nobody sees yet, one of memory without pages, of which nothing is mapped so far. Protection and
 * caching are what the area has: the memory is RAM of the host.
 */
void virtio_v4l2_vma_device(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
}

void *virtio_v4l2_fault_data(const struct vm_fault *fault)
{
	return fault->vma->vm_private_data;
}

/* A page fault maps what lies around it, too: frames are read and written as a whole. */
#define FAULT_AROUND SZ_4M

struct insertion {
	struct vm_area_struct *vma;
	unsigned long pfn;
};

static int insert_pfn(pte_t *pte, unsigned long addr, void *data)
{
	struct insertion *at = data;
	struct vm_area_struct *vma = at->vma;

	if (pte_none(ptep_get(pte)))
		set_pte_at(vma->vm_mm, addr, pte, pte_mkspecial(pfn_pte(at->pfn, vma->vm_page_prot)));
	at->pfn++;
	return 0;
}

/*
 * Maps pages of an area of virtio_v4l2_vma_device() to memory from frame @pfn on, which has @count pages. The first of
 * them is the one at page @first of the file.
 *
 * Not vmf_insert_pfn(): on x86 it maps memory uncached of which nobody has said how it is to be cached.
 */
vm_fault_t virtio_v4l2_fault(struct vm_fault *fault, unsigned long pfn, unsigned long first, unsigned long count)
{
	struct vm_area_struct *vma = fault->vma;
	unsigned long start, end, index;
	struct insertion at = { vma };

	if (fault->pgoff < first || fault->pgoff - first >= count)
		return VM_FAULT_SIGBUS;
	start = max(ALIGN_DOWN(fault->address, FAULT_AROUND), vma->vm_start);
	end = min(ALIGN_DOWN(fault->address, FAULT_AROUND) + FAULT_AROUND, vma->vm_end);
	/* The area was within the memory when it was made, and its parts are. */
	index = linear_page_index(vma, start) - first;
	if (index >= count || (end - start) >> PAGE_SHIFT > count - index)
		return VM_FAULT_SIGBUS;
	at.pfn = pfn + index;
	return apply_to_page_range(vma->vm_mm, start, end - start, insert_pfn, &at) ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* Maps the @index-th page of the area, which nobody sees yet, to @page. */
int virtio_v4l2_insert_page(struct vm_area_struct *vma, unsigned long index, struct page *page)
{
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return vm_insert_page(vma, vma->vm_start + index * PAGE_SIZE, page);
}

void virtio_v4l2_vma_no_write(struct vm_area_struct *vma)
{
	vm_flags_clear(vma, VM_MAYWRITE);
}

/* Has @ops called for what changes in memory of the calling process. A kernel thread has none. */
int virtio_v4l2_watch(struct mmu_interval_notifier *notifier, unsigned long start, unsigned long len,
		      const struct mmu_interval_notifier_ops *ops)
{
	if (!current->mm)
		return -EFAULT;
	return mmu_interval_notifier_insert(notifier, current->mm, start, len, ops);
}

/* Whether it is memory of the calling process that is watched. (The other process's structure lives as long as the notifier.) */
bool virtio_v4l2_watches_caller(const struct mmu_interval_notifier *notifier)
{
	return notifier->mm == current->mm;
}

/* Whether a complaint about the device may be logged now. */
bool virtio_v4l2_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}
