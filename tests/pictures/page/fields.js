// Transformations and field settings: @grafana/data applies them, and is told here which settings there are.

import {
  FieldConfigOptionsRegistry, applyFieldOverrides, cacheFieldDisplayNames, dataLinksOverrideProcessor, displayNameOverrideProcessor, identityOverrideProcessor,
  numberOverrideProcessor, standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, stringOverrideProcessor,
  thresholdsOverrideProcessor, transformDataFrame, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

const STANDARD = {
  color: identityOverrideProcessor,
  decimals: numberOverrideProcessor,
  displayName: displayNameOverrideProcessor,
  links: dataLinksOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  max: numberOverrideProcessor,
  min: numberOverrideProcessor,
  noValue: stringOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  unit: unitOverrideProcessor,
};

/** Of the panels themselves, and what Grafana takes where nothing is said. */
const CUSTOM = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', lineStyle: { fill: 'solid' },
    spanNulls: false, showPoints: 'auto', pointSize: 5, stacking: { mode: 'none', group: 'A' }, barAlignment: 0, barWidthFactor: 0.6, axisPlacement: 'auto',
    axisColorMode: 'text', axisGridShow: undefined, axisBorderShow: false, scaleDistribution: { type: 'linear' }, axisCenteredZero: false, hideFrom: hidden(),
    thresholdsStyle: { mode: 'off' }, axisLabel: '', insertNulls: false, showValues: false,
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, filterable: undefined, inspect: false, hidden: false, width: undefined, minWidth: undefined, hideFrom: hidden(), wrapHeaderText: false, footer: { reducers: [] } },
  'state-timeline': { lineWidth: 0, fillOpacity: 70, spanNulls: false, hideFrom: hidden() },
  heatmap: { scaleDistribution: { type: 'linear' }, hideFrom: hidden() },
  stat: {},
};

function hidden() {
  return { tooltip: false, viz: false, legend: false };
}

const standard = (id) => ({ id, path: id, name: id, process: STANDARD[id], shouldApply: () => true });
const custom = ([path, defaultValue]) => ({
  id: `custom.${path}`, path, name: path, isCustom: true, defaultValue, process: identityOverrideProcessor, shouldApply: () => true,
});

standardFieldConfigEditorRegistry.setInit(() => Object.keys(STANDARD).map(standard));
const TRANSFORMATIONS = { organize: standardTransformers.organizeFieldsTransformer, merge: standardTransformers.mergeTransformer };
standardTransformersRegistry.setInit(() =>
  Object.values(TRANSFORMATIONS).map((transformation) => ({ id: transformation.id, name: transformation.name, transformation: async () => transformation, imageDark: '', imageLight: '' })),
);

/** What is drawn. Throws on a setting or a transformation that is not known here: it would be left out in silence. */
export async function prepared(panel, frames, theme) {
  const known = CUSTOM[panel.type];
  if (!known) throw new Error(`no panel is called ${panel.type}`);
  complain(panel, known);
  const transformed = await lastValueFrom(transformDataFrame(panel.transformations ?? [], frames, { interpolate: (text) => text }));
  const registry = new FieldConfigOptionsRegistry(() => [...Object.keys(STANDARD).map(standard), ...Object.entries(known).map(custom)]);
  const applied = applyFieldOverrides({
    data: transformed, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry, replaceVariables: (text) => text, theme, timeZone: 'utc',
  });
  cacheFieldDisplayNames(applied);
  return applied;
}

function complain(panel, known) {
  const { defaults, overrides } = panel.fieldConfig;
  const own = Object.keys(defaults).filter((key) => key !== 'custom');
  const ids = [...own, ...Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`), ...overrides.flatMap((o) => o.properties.map((p) => p.id))];
  const strange = ids.filter((id) => !(id.startsWith('custom.') ? id.slice(7) in known : id in STANDARD));
  const others = (panel.transformations ?? []).map(({ id }) => id).filter((id) => !(id in TRANSFORMATIONS));
  const matchers = overrides.map(({ matcher }) => matcher.id).filter((id) => !['byName', 'byRegexp'].includes(id));
  if (strange.length + others.length + matchers.length > 0) throw new Error(`${panel.title}: ${[...strange, ...others, ...matchers]} are not known`);
}
