// Captures what @segment/analytics-node really sends. See README.md for how to run it.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'

const [folder, out] = process.argv.slice(2)
const entry = createRequire(join(folder, 'package.json')).resolve('@segment/analytics-node')
const { Analytics } = await import(pathToFileURL(entry))
const manifest = join(folder, 'node_modules', '@segment', 'analytics-node', 'package.json')
const { version } = JSON.parse(readFileSync(manifest, 'utf8'))

const requests = []
const server = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const bytes = Buffer.concat(chunks)
    const zipped = request.headers['content-encoding'] === 'gzip'
    const { host, authorization, ...headers } = request.headers
    requests.push({ path: request.url, headers, body: JSON.parse(zipped ? gunzipSync(bytes) : bytes) })
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"success":true}')
  })
})
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))

const shoes = { product_id: 'p-12', sku: 'B-12', name: 'Blue shoes', price: 49.9, quantity: 1, url: 'https://shop.example/p-12' }
const socks = { product_id: 77, sku: undefined, name: 'Socks – wool', variant: null, price: '4.50', quantity: 2 }
const when = new Date('2026-01-02T03:04:05.678Z')
const who = { userId: 'user-1', anonymousId: 'visitor-1' }

const analytics = new Analytics({
  writeKey: 'test',
  host: `http://127.0.0.1:${server.address().port}`,
  flushAt: 100,
})
analytics.identify({ ...who, traits: { email: 'ann@example.com', createdAt: when, plan: null, address: { city: 'Bern' } } })
analytics.track({ userId: 'user-1', event: 'Signed Up', properties: { plan: 'free', tags: ['a', 'b'], at: when } })
analytics.track({ anonymousId: 'visitor-1', event: 'Bare' })
analytics.page({ ...who, category: 'Docs', name: 'Home', properties: { url: 'https://shop.example/', title: 'Home' } })
analytics.page({ anonymousId: 'visitor-1' })
analytics.screen({ userId: 'user-1', name: 'Cart', properties: { step: 1 } })
analytics.group({ userId: 'user-1', groupId: 'company-1', traits: { name: 'Initech', employees: 420 } })
analytics.alias({ userId: 'user-1', previousId: 'visitor-1' })
analytics.track({ ...who, event: 'Product Viewed', properties: shoes })
analytics.track({ ...who, event: 'Product Added', properties: { cart_id: 'c-1', ...socks }, timestamp: when })
analytics.track({ ...who, event: 'Product Removed', properties: { cart_id: 'c-1', ...shoes }, integrations: { All: false } })
analytics.track({ ...who, event: 'Checkout Started', properties: { order_id: 'o-1', value: 54.4, products: [shoes, socks] } })
analytics.track({
  ...who,
  event: 'Order Completed',
  properties: { order_id: 'o-1', total: 58.9, revenue: 54.4, currency: 'EUR', coupon: null, products: [shoes, socks] },
  context: { ip: '203.0.113.7', locale: 'de-CH', page: { title: 'Half an emoji \ud83d' } },
  timestamp: '2026-01-02T03:04:05+02:00',
})
await analytics.closeAndFlush()
server.close()
writeFileSync(out, JSON.stringify({ library: '@segment/analytics-node', version, requests }, null, 1) + '\n')
