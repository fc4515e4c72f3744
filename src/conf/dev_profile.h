/* What `--dev` runs with where nothing is configured: a chat that the demo page uses, and the classic one. YAML, since it is an
 * example too (`rtbroker config --effective --dev` shows it). Thread: any, constant. */
#ifndef RT_CONF_DEV_PROFILE_H
#define RT_CONF_DEV_PROFILE_H

const char *rt_dev_profile(void);

#endif
