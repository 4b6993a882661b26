// Sends events by a Node library, unmodified, and prints what it called back: node node_sdk.mjs LIBRARY URL KEY USER COUNT [EVENT]
import { Analytics } from '@segment/analytics-node'
import RudderAnalytics from '@rudderstack/rudder-sdk-node'

const [library, url, writeKey, userId, count, event = 'Product Viewed'] = process.argv.slice(2)
const heard = { delivered: 0, errors: [] }
const anonymousId = `${userId}-visitor`

async function segment() {
  const analytics = new Analytics({ writeKey, host: url, flushAt: 20, flushInterval: 100, maxRetries: 5 })
  analytics.on('error', ({ reason }) => heard.errors.push(String(reason?.message ?? reason)))
  const done = (error, context) => {
    if (error) heard.errors.push(String(error))
    else if (context?.failedDelivery()) heard.failed = (heard.failed ?? 0) + 1
    else heard.delivered += 1
  }
  for (let n = 0; n < Number(count); n += 1) {
    analytics.track({ userId, event, properties: { product_id: n, half: 'emoji \ud83d' } }, done)
  }
  if (event === 'Product Viewed') {
    analytics.identify({ userId, anonymousId, traits: { plan: 'free' } }, done)
    analytics.page({ anonymousId, name: 'Home' }, done)
    analytics.screen({ userId, name: 'Home' }, done)
    analytics.group({ userId, groupId: 'company' }, done)
    analytics.alias({ userId, previousId: anonymousId }, done)
  }
  await analytics.closeAndFlush({ timeout: 20000 })
}

async function rudderstack() {
  const analytics = new RudderAnalytics(writeKey, {
    dataPlaneUrl: url,
    flushAt: 20,
    flushInterval: 100,
    logLevel: 'none',
    errorHandler: (error) => heard.errors.push(`[${error.response?.status}] ${error.response?.data?.message ?? error.code}`),
  })
  const done = (error) => { heard.delivered += error ? 0 : 1 }
  for (let n = 0; n < Number(count); n += 1) analytics.track({ userId, event, properties: { product_id: n } }, done)
  if (event === 'Product Viewed') {
    analytics.identify({ userId, anonymousId, traits: { plan: 'free' } }, done)
    analytics.page({ anonymousId, name: 'Home' }, done)
    analytics.screen({ userId, name: 'Home' }, done)
    analytics.group({ userId, groupId: 'company' }, done)
    analytics.alias({ userId, previousId: anonymousId }, done)
  }
  await analytics.flush().catch(() => {})
  // Its flush waits for the last batch alone.
  const end = Date.now() + 20000
  const all = Number(count) + (event === 'Product Viewed' ? 5 : 0)
  while (heard.delivered < all && !heard.errors.length && Date.now() < end) await new Promise((later) => setTimeout(later, 50))
}

await (library === 'segment' ? segment() : rudderstack())
console.log(JSON.stringify(heard))
process.exit(0)
