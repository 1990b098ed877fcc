// SPDX-License-Identifier: GPL-2.0
/*
 * The virtio bus and locks: C functions for macros and inlines that bindgen cannot bind.
 */

#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/vmalloc.h>

#include "virtio.h"

/*
 * How many locks of virtio_helper_irq_lock() this CPU holds, and how interrupts were before the
 * first of them.
 */
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

/*
 * As spin_lock_irqsave(); but these locks may be released in any order, by code that knows nothing
 * of flags.
 */
void virtio_helper_irq_lock(spinlock_t *lock)
{
	irq_disable();
	spin_lock(lock);
}

bool virtio_helper_irq_trylock(spinlock_t *lock)
{
	irq_disable();
	if (spin_trylock(lock))
		return true;
	irq_enable();
	return false;
}

void virtio_helper_irq_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
	irq_enable();
}

void virtio_helper_init_completion(struct completion *done)
{
	init_completion(done);
}

/*
 * How many scatterlist entries virtio_helper_sg_set() needs for @data, which kvmalloc() returned.
 */
unsigned int virtio_helper_pages(const void *data, size_t len)
{
	if (!len)
		return 0;
	if (!is_vmalloc_addr(data))
		return 1;
	return DIV_ROUND_UP(offset_in_page(data) + len, PAGE_SIZE);
}

void virtio_helper_sg_init_table(struct scatterlist *sgs, unsigned int count)
{
	sg_init_table(sgs, count);
}

/*
 * Points entries from @sgs on at @data, which kvmalloc() returned, and returns how many it took.
 * The caller made room for virtio_helper_pages() entries; @max is that number again.
 */
unsigned int virtio_helper_sg_set(struct scatterlist *sgs, unsigned int max, void *data, size_t len)
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
phys_addr_t virtio_helper_phys(const void *addr)
{
	if (is_vmalloc_addr(addr))
		return page_to_phys(vmalloc_to_page(addr)) + offset_in_page(addr);
	return virt_to_phys((void *)addr);
}

/* The device takes memory in runs of any length: it is told of addresses. */
void virtio_helper_any_segment(struct virtio_device *vdev)
{
	struct device *dev = vdev->dev.parent ?: &vdev->dev;

	if (dev->dma_parms)
		dma_set_max_seg_size(dev, UINT_MAX);
}

bool virtio_helper_has_feature(const struct virtio_device *vdev, unsigned int bit)
{
	return virtio_has_feature(vdev, bit);
}

int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
			 struct virtqueue_info infos[])
{
	return virtio_find_vqs(vdev, count, vqs, infos, NULL);
}

void virtio_helper_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

void virtio_helper_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

void virtio_helper_config_read(struct virtio_device *vdev, unsigned int offset, void *data,
			       unsigned int len)
{
	virtio_cread_bytes(vdev, offset, data, len);
}

u8 virtio_helper_status(struct virtio_device *vdev)
{
	return vdev->config->get_status(vdev);
}

bool virtio_helper_get_shm_region(struct virtio_device *vdev, struct virtio_shm_region *region,
				  u8 id)
{
	return virtio_get_shm_region(vdev, region, id);
}

/* Whether a complaint about the device may be logged now. */
bool virtio_helper_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);

	return ___ratelimit(&state, KBUILD_MODNAME);
}
